"""Savings drawn: cards, charts over time and a breakdown, of one tenant or of all."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from billing.admin.charts import BLUE, GREEN, GREY, PALE, Chart, Series, bars
from billing.admin.period_form import PeriodForm
from billing.admin.words import share, thousands
from billing.money import format_decimal, format_money, settle, to_decimal
from billing.rating.price_book import RatedUsage
from billing.selectors.savings import DayOfUsage, Savings, days_of_usage, total, total_by
from metering.models import Outcome
from metering.periods import Period
from tenants.models import Tenant

NOTHING = total([])


class Card(NamedTuple):
    """One figure, what it is, and a word more; good news is green."""

    title: str
    figure: str
    hint: str = ""
    good: bool = False


class Money(NamedTuple):
    """Accrued money written out, so that charged and saved add up to list as on an invoice."""

    list: str
    charged: str
    saved: str


def savings_page(tenant: Tenant, asked: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return what the savings page of a tenant shows for the period asked for."""
    form = PeriodForm(asked, now=now)
    period = form.period()
    rows = days_of_usage(period=period, now=now, tenant_ids=[tenant.pk])
    return {
        "form": form,
        "span": f"{period.start:%Y-%m-%d} to {period.end - timedelta(days=1):%Y-%m-%d}",
        "groups": breakdown(rows),
        **picture(rows, Period(period.start, min(period.end, _next_midnight(now)))),
    }


def picture(rows: Sequence[DayOfUsage], period: Period) -> dict[str, Any]:
    """Return the cards and the charts of some usage over a period."""
    by_currency = total_by(rows, lambda row: row.currency)
    by_currency.pop("", None)
    days = _days(period)
    money_charts = [
        _money_chart([row for row in rows if row.currency == currency], currency, days)
        for currency in by_currency
    ]
    return {
        "cards": [*usage_cards(total(rows)), *money_cards(by_currency)],
        "charts": [*money_charts, *_usage_charts(rows, days)],
    }


def usage_cards(sums: Savings) -> list[Card]:
    """Return the cards that count."""
    cards = [
        Card("Calls", thousands(sums.calls), f"{thousands(sums.hits)} hits"),
        Card("Hit rate", share(sums.hits, sums.calls), "of calls"),
        Card("Tokens served", thousands(sums.served)),
        Card("Tokens computed", thousands(sums.computed), f"{share(sums.computed, sums.served)} of those served"),
    ]
    return [*cards, Card("Units", thousands(sums.units))] if sums.units else cards


def money_cards(by_currency: Mapping[str, Savings]) -> list[Card]:
    """Return list, charged and saved, for each currency."""
    cards = []
    for currency, sums in by_currency.items():
        written = written_out(sums.rated, currency)
        cards += [
            Card("List price", written.list, _exactly(sums.rated.list, currency)),
            Card("Charged", written.charged, _exactly(sums.rated.charged, currency)),
            Card("Saved", written.saved, f"{_percent(sums.rated)} off the list price", good=True),
        ]
    return cards


def breakdown(rows: Iterable[DayOfUsage]) -> list[dict[str, Any]]:
    """Return the table of usage by model and outcome."""
    groups = total_by(rows, lambda row: (row.model, row.outcome, row.currency))
    return [
        {
            "model": model,
            "outcome": Outcome(outcome).label,
            "calls": thousands(sums.calls),
            "served": thousands(sums.served),
            "computed": thousands(sums.computed),
            "units": thousands(sums.units),
            "has_saved": bool(sums.rated.discount),
            **(written_out(sums.rated, currency)._asdict() if currency else {}),
        }
        for (model, outcome, currency), sums in sorted(groups.items())
    ]


def written_out(rated: RatedUsage, currency: str) -> Money:
    """Return accrued money in whole minor units: what is charged is rounded, what is saved is the rest."""
    listed, charged = settle(rated.list, currency), settle(rated.charged, currency)
    return Money(*(format_money(minor, currency) for minor in (listed, charged, listed - charged)))


def _money_chart(rows: Iterable[DayOfUsage], currency: str, days: Sequence[date]) -> Chart:
    by_day = total_by(rows, lambda row: row.day)
    rated = [by_day.get(day, NOTHING).rated for day in days]
    charged = Series("charged", [one.charged for one in rated], BLUE)
    saved = Series("saved", [one.discount for one in rated], GREEN)
    return bars(f"Charged and saved, {currency} a day", _labels(days), [charged, saved])


def _usage_charts(rows: Iterable[DayOfUsage], days: Sequence[date]) -> list[Chart]:
    by_day = total_by(rows, lambda row: row.day)
    sums = [by_day.get(day, NOTHING) for day in days]
    calls = [
        Series("hits", [one.hits for one in sums], GREEN),
        Series("misses", [one.calls - one.hits for one in sums], GREY),
    ]
    tokens = [
        Series("served", [one.served for one in sums], PALE),
        Series("computed", [one.computed for one in sums], BLUE),
    ]
    return [
        bars("Hits and misses, calls a day", _labels(days), calls),
        bars("Tokens a day", _labels(days), tokens, stacked=False),
    ]


def _days(period: Period) -> list[date]:
    return [(period.start + timedelta(days=number)).date() for number in range((period.end - period.start).days)]


def _labels(days: Iterable[date]) -> list[str]:
    return [f"{day:%d %b}" for day in days]


def _next_midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _exactly(accrued: Decimal, currency: str) -> str:
    """Return the unrounded amount where rounding hides some of it."""
    is_whole = to_decimal(settle(accrued, currency), currency) == accrued
    return "" if is_whole else f"{format_decimal(accrued)} unrounded"


def _percent(rated: RatedUsage) -> str:
    scale = 10**12
    return share(int(rated.discount * scale), int(rated.list * scale))
