"""Budgets, and the alerts when they are passed: raised once for each period and level, then told until heard."""

import logging
import secrets
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from smtplib import SMTPException
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import send_mail
from django.db import models, transaction

from billing import outgoing
from billing.errors import BudgetRefused, WebhookNotTaken
from billing.models import Budget, BudgetAlert
from billing.money import format_decimal
from billing.selectors.contracts import currency_of
from billing.selectors.spend import spent
from tenants.models import ApiKey, Tenant

logger = logging.getLogger(__name__)

SECRET_BYTES = 32


class Changed(NamedTuple):
    """What a budget said before (None: there was none), and what it says now."""

    before: str | None
    after: str


def set_budget(
    *,
    tenant: Tenant,
    period: str,
    api_key: ApiKey | None = None,
    soft_amount: Decimal | None = None,
    hard_amount: Decimal | None = None,
    webhook_url: str = "",
    email: str = "",
) -> Changed | None:
    """Let a budget of the tenant, or of one of its keys, hold from now on; return None where it does already.

    What was spent in the running period counts towards it.

    Raises:
        BudgetRefused: no amount is given, the soft one is above the hard one, or the key is another tenant's.
    """
    if soft_amount is None and hard_amount is None:
        raise BudgetRefused("Give a soft amount, a hard one, or both.")
    if soft_amount is not None and hard_amount is not None and soft_amount > hard_amount:
        raise BudgetRefused("The soft amount is at most the hard one.")
    if api_key is not None and api_key.tenant_id != tenant.pk:
        raise BudgetRefused("The key is not one of this tenant's.")
    values = {
        "soft_amount": soft_amount,
        "hard_amount": hard_amount,
        "webhook_url": webhook_url,
        "email": email,
    }
    with transaction.atomic():
        rows = Budget.objects.select_for_update(of=("self",)).filter(
            tenant=tenant, api_key=api_key, period=period
        )
        known = rows.first()
        if known is not None and all(getattr(known, name) == value for name, value in values.items()):
            return None
        before = None if known is None else describe(known)
        row = known or Budget(tenant=tenant, api_key=api_key, period=period)
        for name, value in values.items():
            setattr(row, name, value)
        save_budget(budget=row)
    return Changed(before, describe(row))


def save_budget(*, budget: Budget) -> None:
    """Save *budget*, with a secret to sign with where there is none."""
    if budget.webhook_url and not budget.webhook_secret:
        budget.webhook_secret = secrets.token_urlsafe(SECRET_BYTES)
    budget.save()


def describe(budget: Budget) -> str:
    """Return what a budget says, in one line, without its secret."""
    amounts = (("soft", budget.soft_amount), ("hard", budget.hard_amount))
    said = [f"{name} {format_decimal(amount)}" for name, amount in amounts if amount is not None]
    said += [told for told in (budget.webhook_url, budget.email) if told]
    return f"{budget.period} {', '.join(said)}"


def raise_alerts(*, now: datetime) -> int:
    """Raise an alert for each amount that was passed in its running period, once; return how many are new.

    Spend is what is rolled up, so an alert comes some seconds late, never early.
    """
    raised = 0
    for budget in Budget.objects.select_related("tenant", "api_key"):
        period = budget.period_at(now)
        amount = spent(budget=budget, period=period)
        for level, limit in (
            (BudgetAlert.Level.SOFT, budget.soft_amount),
            (BudgetAlert.Level.HARD, budget.hard_amount),
        ):
            if limit is not None and amount and amount >= limit:
                raised += raise_alert(budget=budget, level=level, spent_amount=amount, now=now)
    return raised


def raise_alert(*, budget: Budget, level: str, spent_amount: Decimal, now: datetime) -> bool:
    """Raise the alert of a level for the running period; return whether it is the first."""
    _, is_first = BudgetAlert.objects.get_or_create(
        budget=budget,
        period_start=budget.period_at(now).start,
        level=level,
        defaults={"spent_amount": spent_amount, "raised_at": now},
    )
    return is_first


def deliver_alerts(*, now: datetime) -> int:
    """Tell of the alerts that wait, by webhook and by e-mail; return how many have been told everywhere now.

    What was not taken is tried again by the next sweep, each way on its own, for three days. A receiver may
    hear of an alert twice, and knows it by its id.
    """
    told = 0
    for alert in BudgetAlert.objects.waiting(now).select_related("budget__tenant", "budget__api_key"):
        claimed = BudgetAlert.objects.filter(pk=alert.pk, attempts=alert.attempts, delivered_at=None)
        if claimed.update(attempts=models.F("attempts") + 1):
            told += _deliver(alert, now)
    return told


def _deliver(alert: BudgetAlert, now: datetime) -> bool:
    budget, problems = alert.budget, []
    if budget.webhook_url and alert.posted_at is None:
        try:
            _post(alert, now)
            alert.posted_at = now
        except WebhookNotTaken as problem:
            problems.append(f"webhook: {problem}")
    if budget.email and alert.mailed_at is None:
        try:
            _mail(alert)
            alert.mailed_at = now
        except (SMTPException, OSError) as problem:
            problems.append(f"e-mail: {problem}")
    alert.problem = " ".join(problems)
    alert.delivered_at = None if problems else now
    alert.save(update_fields=["posted_at", "mailed_at", "delivered_at", "problem"])
    if problems:
        logger.warning("budget_alert_not_delivered alert=%s problem=%s", alert.pk, alert.problem)
    return not problems


def _post(alert: BudgetAlert, now: datetime) -> None:
    outgoing.post(
        url=alert.budget.webhook_url,
        secret=alert.budget.webhook_secret,
        content=_content(alert),
        sent_at=int(now.timestamp()),
        private_networks=settings.WEBHOOKS_TO_PRIVATE_NETWORKS,
    )


def _content(alert: BudgetAlert) -> Mapping[str, Any]:
    budget = alert.budget
    limit = budget.soft_amount if alert.level == BudgetAlert.Level.SOFT else budget.hard_amount
    return {
        "id": f"budget_alert_{alert.pk}",
        "type": f"budget.{alert.level}",
        "tenant": budget.tenant.slug,
        "api_key": budget.api_key.public_id if budget.api_key else None,
        "period": budget.period,
        "period_start": alert.period_start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "currency": currency_of(tenant_id=budget.tenant_id),
        "amount": None if limit is None else format_decimal(limit),
        "spent": format_decimal(alert.spent_amount),
        "raised_at": alert.raised_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _mail(alert: BudgetAlert) -> None:
    said = _content(alert)
    whose = f"{said['tenant']}, API key zr_live_{said['api_key']}…" if said["api_key"] else said["tenant"]
    then = (
        "Calls that might cost more than is left are refused until the period ends."
        if alert.level == BudgetAlert.Level.HARD
        else "Calls go on."
    )
    send_mail(
        f"Budget of {whose}: the {alert.level} amount is reached",
        f"{said['spent']} {said['currency']} of {said['amount']} {said['currency']} were spent in the {said['period']} "
        f"that began at {said['period_start']}.\n{then}\n",
        None,
        [alert.budget.email],
    )
