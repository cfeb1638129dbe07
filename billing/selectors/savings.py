"""What the cache saves: the figures of the savings page and of the usage API.

Accrued, not settled: exact sums at the prices of each instant, from the rollups. The invoice is the truth for what
is charged; these are the same usage at the same prices before its lines are rounded.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, TypeVar

from billing.money import ZERO, exact_sum
from billing.rating.invoice_lines import Contract, change_instants
from billing.rating.price_book import RatedUsage, add_up
from billing.selectors.contracts import contracts_within, currency_of
from metering.periods import Period
from metering.selectors import rollup_watermark, usage_between
from metering.tokens import POOLS, UNITS
from metering.usage_event import HITS
from metering.usage_sums import UsageSum
from tenants.models import Tenant

Key = TypeVar("Key")

_DAY = timedelta(days=1)
_AS_KNOWN_NOW = datetime.max.replace(tzinfo=UTC)


class Figures(NamedTuple):
    """Counts, and money as accrued in the tenant's currency. `computed` is what the upstream worked for."""

    calls: int
    hits: int
    tokens_served: int
    tokens_computed: int
    units_served: int
    units_computed: int
    list: Decimal
    charged: Decimal
    saved: Decimal
    unrated_calls: int
    """Calls with usage that is quarantined: counted above, in no figure of money."""

    @property
    def misses(self) -> int:
        """Return the calls that an upstream answered."""
        return self.calls - self.hits

    @property
    def hit_rate(self) -> Decimal:
        """Return hits by calls, 0 to 1, to four decimals, rounded down; 0 where there were no calls."""
        return Decimal(self.hits * 10_000 // self.calls) / 10_000 if self.calls else ZERO


class Savings(NamedTuple):
    """A tenant's figures over a period: in all, by day (every day, in order), by model and outcome."""

    currency: str | None
    total: Figures
    by_day: dict[date, Figures]
    by_model_and_outcome: dict[tuple[str, str], Figures]


class Part(NamedTuple):
    """A sum of usage, rated; or not, where it is quarantined."""

    usage: UsageSum
    rated: RatedUsage
    is_rated: bool


def savings(*, tenant: Tenant, period: Period) -> Savings:
    """Return what a tenant used, paid and saved over a period of whole UTC days, as rolled up so far."""
    contracts = contracts_within(tenant_id=tenant.pk, period=period, priced_at=_AS_KNOWN_NOW)
    days = midnights(period)
    usage = usage_between(
        tenant_id=tenant.pk,
        period=period,
        cuts={*days, *change_instants(contracts)},
        below=rollup_watermark(),
    )
    parts = [rated_part(part, contracts) for part in usage]
    return summed(parts, currency=currency_of(tenant_id=tenant.pk), days=days)


def midnights(period: Period) -> list[datetime]:
    """Return the starts of the days of a period of whole UTC days."""
    return [period.start + _DAY * count for count in range((period.end - period.start) // _DAY)]


def summed(parts: Sequence[Part], *, currency: str | None, days: Iterable[datetime]) -> Savings:
    """Add rated usage up, in all and apart, with every one of the days."""
    return Savings(
        currency=currency,
        total=_figures(parts),
        by_day={day.date(): _NOTHING for day in days} | grouped(parts, lambda usage: usage.span.start.date()),
        by_model_and_outcome=grouped(parts, lambda usage: (usage.model, usage.outcome)),
    )


def rated_part(usage: UsageSum, contracts: Iterable[Contract]) -> Part:
    """Rate a sum of usage with the contract in force at its start."""
    contract = next((known for known in contracts if known.span.contains(usage.span.start)), None)
    if contract is None or usage.quality == "suspect":
        return Part(usage, add_up([]), is_rated=False)
    rated = [
        contract.book.rate(
            model=usage.model, pool=pool, outcome=usage.outcome, quantity=quantity, instant=usage.span.start
        )
        for pool, quantity in usage.quantities.items()
        if quantity
    ]
    return Part(usage, add_up([part for part in rated if part is not None]), is_rated=None not in rated)


def grouped(parts: Iterable[Part], key: Callable[[UsageSum], Key]) -> dict[Key, Figures]:
    """Add rated usage up by a key of it."""
    groups: dict[Key, list[Part]] = {}
    for part in parts:
        groups.setdefault(key(part.usage), []).append(part)
    return {name: _figures(groups[name]) for name in groups}


def add_figures(figures: Iterable[Figures]) -> Figures:
    """Add figures up; their money means something only where it is in one currency."""
    columns = zip(_NOTHING, *figures, strict=True)
    return Figures._make(exact_sum(one) if isinstance(one[0], Decimal) else sum(one) for one in columns)


def _figures(parts: Iterable[Part]) -> Figures:
    parts = list(parts)
    computed = [part for part in parts if part.usage.outcome not in HITS]
    return Figures(
        calls=sum(part.usage.calls for part in parts),
        hits=sum(part.usage.calls for part in parts if part.usage.outcome in HITS),
        tokens_served=_tokens(parts),
        tokens_computed=_tokens(computed),
        units_served=_units(parts),
        units_computed=_units(computed),
        list=exact_sum(part.rated.list for part in parts),
        charged=exact_sum(part.rated.charged for part in parts),
        saved=exact_sum(part.rated.discount for part in parts),
        unrated_calls=sum(part.usage.calls for part in parts if not part.is_rated),
    )


def _tokens(parts: Iterable[Part]) -> int:
    return sum(part.usage.quantities[pool] for part in parts for pool in POOLS)


def _units(parts: Iterable[Part]) -> int:
    return sum(part.usage.quantities[UNITS] for part in parts)


_NOTHING = _figures([])
