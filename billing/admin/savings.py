"""Savings drawn: cards, charts over time and a breakdown, of one tenant or of all."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from billing.admin.charts import BLUE, GREEN, GREY, PALE, Chart, Series, bars
from billing.admin.period_form import PeriodForm
from billing.admin.words import share, thousands
from billing.money import format_decimal, format_money, settle, to_decimal
from billing.selectors.savings import Figures, Savings, savings
from metering.models import Outcome
from metering.periods import Period
from tenants.models import Tenant


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
    saved = savings(tenant=tenant, period=until_today(period, now))
    return {
        "form": form,
        "span": f"{period.start:%Y-%m-%d} to {period.end - timedelta(days=1):%Y-%m-%d}",
        "groups": breakdown(saved),
        "card_rows": [money_cards([saved]), usage_cards(saved.total)],
        "charts": [*money_charts([saved]), *usage_charts(list(saved.by_day), list(saved.by_day.values()))],
    }


def until_today(period: Period, now: datetime) -> Period:
    """Return the period without its days to come, of which nothing can be drawn."""
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return Period(period.start, max(min(period.end, tomorrow), period.start + timedelta(days=1)))


def usage_cards(figures: Figures) -> list[Card]:
    """Return the cards that count."""
    served, computed = figures.tokens_served, figures.tokens_computed
    cards = [
        Card("Calls", thousands(figures.calls), f"{thousands(figures.hits)} hits"),
        Card("Hit rate", share(figures.hits, figures.calls), "of calls"),
        Card("Tokens served", thousands(served)),
        Card("Tokens computed", thousands(computed), f"{share(computed, served)} of those served"),
    ]
    if figures.units_served:
        computed_units = f"{thousands(figures.units_computed)} computed"
        cards.append(Card("Units served", thousands(figures.units_served), computed_units))
    if figures.unrated_calls:
        cards.append(Card("Quarantined", thousands(figures.unrated_calls), "calls, in no amount below"))
    return cards


def money_cards(by_currency: Iterable[Savings]) -> list[Card]:
    """Return list, charged and saved, for each currency."""
    cards = []
    for currency, figures in ((one.currency, one.total) for one in by_currency if one.currency):
        money = written_out(figures, currency)
        cards += [
            Card("List price", money.list, _exactly(figures.list, currency)),
            Card("Charged", money.charged, _exactly(figures.charged, currency)),
            Card("Saved", money.saved, f"{_percent(figures)} off the list price", good=True),
        ]
    return cards


def breakdown(saved: Savings) -> list[dict[str, Any]]:
    """Return the table of usage by model and outcome."""
    return [
        {
            "model": model,
            "outcome": Outcome(outcome).label,
            "calls": thousands(figures.calls),
            "served": thousands(figures.tokens_served),
            "computed": thousands(figures.tokens_computed),
            "units": thousands(figures.units_served),
            "has_saved": bool(figures.saved),
            **(written_out(figures, saved.currency)._asdict() if saved.currency else {}),
        }
        for (model, outcome), figures in sorted(saved.by_model_and_outcome.items())
    ]


def written_out(figures: Figures, currency: str) -> Money:
    """Return accrued money in whole minor units: what is charged is rounded, what is saved is the rest."""
    listed, charged = settle(figures.list, currency), settle(figures.charged, currency)
    return Money(*(format_money(minor, currency) for minor in (listed, charged, listed - charged)))


def money_charts(by_currency: Iterable[Savings]) -> list[Chart]:
    """Return charged and saved over time, a chart for each currency."""
    return [_money_chart(one) for one in by_currency if one.currency]


def usage_charts(days: Sequence[date], figures: Sequence[Figures]) -> list[Chart]:
    """Return hits and misses, and tokens served and computed, over time."""
    calls = [
        Series("hits", [one.hits for one in figures], GREEN),
        Series("misses", [one.misses for one in figures], GREY),
    ]
    tokens = [
        Series("served", [one.tokens_served for one in figures], PALE),
        Series("computed", [one.tokens_computed for one in figures], BLUE),
    ]
    return [
        bars("Hits and misses, calls a day", _labels(days), calls),
        bars("Tokens a day", _labels(days), tokens, stacked=False),
    ]


def _money_chart(saved: Savings) -> Chart:
    series = [
        Series("charged", [one.charged for one in saved.by_day.values()], BLUE),
        Series("saved", [one.saved for one in saved.by_day.values()], GREEN),
    ]
    return bars(f"Charged and saved, {saved.currency} a day", _labels(saved.by_day), series)


def _labels(days: Iterable[date]) -> list[str]:
    return [f"{day:%d %b}" for day in days]


def _exactly(accrued: Decimal, currency: str) -> str:
    """Return the unrounded amount where rounding hides some of it."""
    is_whole = to_decimal(settle(accrued, currency), currency) == accrued
    return "" if is_whole else f"{format_decimal(accrued)} unrounded"


def _percent(figures: Figures) -> str:
    scale = 10**12
    return share(int(figures.saved * scale), int(figures.list * scale))
