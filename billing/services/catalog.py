"""Changes to the price book. What is in force is superseded, never edited."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection, transaction

from billing.errors import PriceInForce
from billing.models import HitDiscount, Plan, Price


class Replaced(NamedTuple):
    """What held before (None: nothing), what holds now, and from when."""

    before: str | None
    after: str
    effective_from: datetime


def set_price(
    *,
    plan: Plan,
    model: str,
    pool: str,
    amount: Decimal,
    per: int,
    now: datetime,
    effective_from: datetime | None = None,
) -> Replaced | None:
    """Let a price hold from *effective_from* on (default: *now*); return None where it does already.

    A price that is not yet in force is changed in place; one in force gets a successor.

    Raises:
        PriceInForce: it would change what usage was already rated with.
    """
    priced = {"plan": plan, "model": model, "pool": pool}
    # The first price of a pool may start in the past: nothing was ever rated without it.
    rated = Price.objects.filter(**priced).exists() and plan.subscriptions.exists()
    return _supersede(Price, priced, {"amount": amount, "per": per}, now, effective_from, rated=rated)


def set_hit_discount(
    *,
    plan: Plan,
    outcome: str,
    percent: Decimal,
    now: datetime,
    model: str = "",
    pool: str = "",
    effective_from: datetime | None = None,
) -> Replaced | None:
    """Let a hit discount hold from *effective_from* on (default: *now*); return None where it does already.

    Empty *model* or *pool* means all.

    Raises:
        PriceInForce: it would change what usage was already rated with.
    """
    discounted = {"plan": plan, "outcome": outcome, "model": model, "pool": pool}
    rated = plan.subscriptions.exists()
    return _supersede(HitDiscount, discounted, {"percent": percent}, now, effective_from, rated=rated)


def limit_plan(*, plan: Plan, limits: Mapping[str, Any]) -> None:
    """Hold the tenants of a plan to *limits* (`Plan.LIMITS`) from now on; every gateway knows within a second."""
    for name in Plan.LIMITS:
        setattr(plan, name, limits[name])
    plan.save(update_fields=Plan.LIMITS)


@transaction.atomic
def _supersede(
    kind: type[Price] | type[HitDiscount],
    identity: dict[str, Any],
    values: dict[str, Any],
    now: datetime,
    effective_from: datetime | None,
    *,
    rated: bool,
) -> Replaced | None:
    """Give what *identity* names a successor from *effective_from* on."""
    # In the database's own time, because it too refuses what starts before the transaction did.
    starts = effective_from or (max(now, _transaction_time()) if rated else now)
    rows = kind._default_manager.select_for_update().filter(**identity, effective_from__lte=starts)
    held = rows.order_by("-effective_from").first()
    if held is not None and all(getattr(held, name) == value for name, value in values.items()):
        return None
    before = None if held is None else str(held)
    is_same_instant = held is not None and held.effective_from == starts
    _refuse_rewriting(starts, now, before if is_same_instant else None, rated=rated)
    if held is not None and is_same_instant:
        for name, value in values.items():
            setattr(held, name, value)
        held.save(update_fields=list(values))
        return Replaced(before, str(held), starts)
    made = kind._default_manager.create(**identity, **values, effective_from=starts)
    return Replaced(before, str(made), starts)


def _transaction_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        (instant,) = cursor.fetchone()
    assert isinstance(instant, datetime)
    return instant


def _refuse_rewriting(starts: datetime, now: datetime, same_instant: str | None, *, rated: bool) -> None:
    """Refuse what would change the past; the database would refuse it too, less clearly."""
    if same_instant is not None and starts <= now:
        raise PriceInForce(f"{same_instant} is in force and stays; let the new one hold from now on.")
    if rated and starts < now:
        raise PriceInForce(
            f"{starts:%Y-%m-%dT%H:%M:%SZ} is past, and usage was rated since; let it hold from now on."
        )
