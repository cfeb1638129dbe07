"""Changes to subscriptions: which plan a tenant is on."""

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from billing.errors import CurrencyMismatch
from billing.models import Plan, Subscription
from tenants.models import Tenant


@transaction.atomic
def subscribe(*, tenant: Tenant, plan: Plan, now: datetime) -> Plan | None:
    """Put *tenant* on *plan* from *now* on; return the plan it was on, or None where it was on none.

    Nothing changes where the tenant is on that plan already.

    Raises:
        CurrencyMismatch: the tenant was ever on a plan of another currency.
    """
    Tenant.objects.select_for_update().get(pk=tenant.pk)
    held = Subscription.objects.filter(tenant=tenant).select_related("plan")
    other = held.exclude(plan__currency=plan.currency).first()
    if other is not None:
        raise CurrencyMismatch(
            f"{tenant.slug} is billed in {other.plan.currency} and cannot change to {plan.name} in {plan.currency}: "
            "make a tenant of its own for another currency."
        )
    current = held.filter(Q(ends_at=None) | Q(ends_at__gt=now), starts_at__lte=now).first()
    if current is not None and current.plan == plan:
        return plan
    if current is not None:
        current.ends_at = now
        current.save(update_fields=["ends_at"])
    Subscription.objects.create(tenant=tenant, plan=plan, starts_at=now)
    return None if current is None else current.plan
