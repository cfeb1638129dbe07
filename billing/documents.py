"""The invoice on paper: a plain value in, HTML or PDF out.

Both renderings are drawn from the same words (`_page`), so they cannot disagree. Whatever people typed
(names, addresses, models) reaches Django's template as context, which escapes it, and typst as JSON data,
which it never reads as markup.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import typst
from django.template.loader import render_to_string

from billing.money import format_decimal, to_decimal

_TYPST_TEMPLATE = Path(__file__).resolve().parents[1] / "templates" / "billing" / "invoice.typ"

_POOL_WORDS = {
    "input": "Input tokens",
    "cache_read": "Input tokens, read from the provider's cache",
    "cache_write": "Input tokens, written to the provider's cache",
    "cache_write_1h": "Input tokens, written to the provider's cache for 1 h",
    "output": "Output tokens",
    "units": "Units",
}
_OUTCOME_WORDS = {
    "miss": "computed",
    "bypass": "computed, cache bypassed",
    "exact": "cache hit",
    "coalesced": "shared answer",
    "semantic": "similar answer",
}
_STATUS_WORDS = {
    "draft": "Draft",
    "open": "Open",
    "paid": "Paid",
    "void": "Void",
    "uncollectible": "Uncollectible",
}
WRONG_HITS_SHOWN = 100
_PER_WORDS = {1: "", 1_000: "1k", 1_000_000: "1M", 1_000_000_000: "1B"}


class Party(NamedTuple):
    """The seller or the customer as printed; the address may have several lines."""

    name: str
    address: str = ""
    email: str = ""


class DocumentLine(NamedTuple):
    """A line of an invoice; money in minor units of the document's currency, kinds as on the row."""

    kind: str
    model: str
    pool: str
    outcome: str
    quality: str
    quantity: int
    calls: int
    unit_amount: Decimal | None
    per: int | None
    discount_percent: Decimal
    list_minor: int
    discount_minor: int
    net_minor: int
    original_period_start: datetime | None = None
    reason: str = ""


class CreditedHit(NamedTuple):
    """A hit that proved wrong and comes back on this invoice; its charge is exact."""

    event_id: str
    occurred_at: datetime
    model: str
    reason: str
    charged: Decimal


class InvoiceDocument(NamedTuple):
    """All that an invoice shows. Instants are aware UTC, the period [start, end); a draft has no number."""

    seller: Party
    customer: Party
    number: str | None
    status: str
    currency: str
    period_start: datetime
    period_end: datetime
    issued_at: datetime | None
    due_at: datetime | None
    lines: Sequence[DocumentLine]
    list_minor: int
    discount_minor: int
    net_minor: int
    credited_minor: int = 0
    paid_minor: int = 0
    wrong_hits: Sequence[CreditedHit] = ()


def render_html(document: InvoiceDocument) -> str:
    """Render the invoice as one HTML page that needs no other file and prints well."""
    return render_to_string("billing/invoice.html", _page(document))


def render_pdf(document: InvoiceDocument) -> bytes:
    """Render the invoice as PDF; the same document on the same machine gives the same bytes."""
    data = msgspec.json.encode(_page(document)).decode()
    pdf = typst.compile(
        _TYPST_TEMPLATE,
        font_paths=_fonts(),
        sys_inputs={"invoice": data},
        timestamp=(document.issued_at or document.period_end).replace(microsecond=0),
    )
    assert isinstance(pdf, bytes)
    return pdf


@cache
def _fonts() -> typst.Fonts:
    # The page is set in fonts that typst carries; the system's only lend letters that those lack.
    return typst.Fonts(include_system_fonts=True)


def _page(document: InvoiceDocument) -> dict[str, Any]:
    """Say the document in words and figures ready to print: strings, lists and truths only."""
    money = _money_writer(document.currency)
    due_minor = document.net_minor - document.credited_minor - document.paid_minor
    given_back_minor = -sum(line.net_minor for line in document.lines if line.kind == "wrong_hit")
    saved_minor = document.discount_minor - given_back_minor
    return {
        "title": "Invoice" if document.number else "Draft invoice",
        "number": document.number or "",
        "status": document.status,
        "status_words": _STATUS_WORDS[document.status],
        "currency": document.currency,
        "seller": _party(document.seller),
        "customer": _party(document.customer),
        "period": _period(document.period_start, document.period_end),
        "facts": _facts(document),
        "list": money(document.list_minor),
        "saved": money(saved_minor),
        "saved_share": _share(saved_minor, document.list_minor),
        "given_back": money(-given_back_minor) if given_back_minor else "",
        "net": money(document.net_minor),
        "credited": money(-document.credited_minor) if document.credited_minor else "",
        "paid": money(-document.paid_minor) if document.paid_minor else "",
        "due": money(due_minor),
        "sections": _sections(document),
        "credits": _credits(document),
        "wrong_hits": [_wrong_hit(hit) for hit in document.wrong_hits[:WRONG_HITS_SHOWN]],
        "wrong_hits_left": _more(len(document.wrong_hits) - WRONG_HITS_SHOWN),
        "quarantined": [_quarantined(line) for line in document.lines if line.kind == "quarantined"],
        "has_estimates": any(line.quality == "estimated" for line in document.lines),
    }


def _facts(document: InvoiceDocument) -> list[dict[str, str]]:
    facts = [("Period", _period(document.period_start, document.period_end))]
    if document.issued_at:
        facts.append(("Issued", _date(document.issued_at)))
    if document.due_at:
        facts.append(("Due", _date(document.due_at)))
    return [{"label": label, "value": value} for label, value in facts]


def _sections(document: InvoiceDocument) -> list[dict[str, Any]]:
    """Gather charged lines: this period's usage, then late usage, a section for each original period."""
    current = [line for line in document.lines if line.kind == "usage"]
    late = [line for line in document.lines if line.kind == "late_usage"]
    sections = [(f"Usage in {_period(document.period_start, document.period_end)}", current)]
    for start, lines in groupby(late, key=lambda line: line.original_period_start):
        assert start is not None, "late usage names its period"
        sections.append((f"Late usage of {start:%B %Y}, at the prices of that month", list(lines)))
    return [
        {"title": title, "models": _models(lines, document.currency)} for title, lines in sections if lines
    ]


def _models(lines: Sequence[DocumentLine], currency: str) -> list[dict[str, Any]]:
    return [
        {"name": model, "lines": [_line(line, currency) for line in of_model]}
        for model, of_model in groupby(lines, key=lambda line: line.model)
    ]


def _line(line: DocumentLine, currency: str) -> dict[str, Any]:
    money = _money_writer(currency)
    return {
        "pool": _POOL_WORDS[line.pool],
        "outcome": _OUTCOME_WORDS[line.outcome],
        "is_hit": line.discount_minor != 0 or line.discount_percent != 0,
        "is_estimated": line.quality == "estimated",
        "calls": _calls(line.calls),
        "quantity": f"{line.quantity:,}",
        "price": _unit_price(line.unit_amount, line.per),
        "list": money(line.list_minor),
        "percent": f"{format_decimal(line.discount_percent)} %" if line.discount_percent else "",
        "saved": money(line.discount_minor),
        "net": money(line.net_minor),
    }


def _credits(document: InvoiceDocument) -> list[dict[str, str]]:
    """Say what comes back for wrong answers: never more than the invoice charges."""
    money = _money_writer(document.currency)
    return [
        {
            "model": line.model,
            "pool": _POOL_WORDS[line.pool],
            "month": f"{line.original_period_start:%B %Y}",
            "calls": _calls(line.calls),
            "quantity": f"{line.quantity:,}",
            "price": _unit_price(line.unit_amount, line.per),
            "percent": f"{format_decimal(line.discount_percent)} %" if line.discount_percent else "",
            "net": money(line.net_minor),
        }
        for line in document.lines
        if line.kind == "wrong_hit"
    ]


def _wrong_hit(hit: CreditedHit) -> dict[str, str]:
    return {
        "event": hit.event_id,
        "at": f"{_date(hit.occurred_at)}, {hit.occurred_at:%H:%M:%S}",
        "model": hit.model,
        "reason": hit.reason,
        "charged": format_decimal(hit.charged),
    }


def _more(count: int) -> str:
    return f"{count:,} more stand in the usage CSV." if count > 0 else ""


def _quarantined(line: DocumentLine) -> dict[str, str]:
    return {
        "model": line.model,
        "pool": _POOL_WORDS[line.pool],
        "outcome": _OUTCOME_WORDS[line.outcome],
        "calls": _calls(line.calls),
        "quantity": f"{line.quantity:,}",
        "reason": line.reason,
    }


def _party(party: Party) -> dict[str, Any]:
    return {"name": party.name, "address": party.address.strip().splitlines(), "email": party.email}


def _money_writer(currency: str) -> Callable[[int], str]:
    return lambda minor: f"{to_decimal(minor, currency):,f}".replace("-", "−")


def _unit_price(amount: Decimal | None, per: int | None) -> str:
    """Write a unit price with the two decimals that readers expect, or more where it has more."""
    if amount is None or per is None:
        return ""
    text = format_decimal(amount)
    whole, _, decimals = text.partition(".")
    figure = f"{int(whole):,}.{decimals:0<2}"
    words = _PER_WORDS.get(per, f"{per:,}")
    return f"{figure} / {words}" if words else figure


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _share(part: int, whole: int) -> str:
    """Write part of whole in percent with one decimal, rounded down so that it never says 100 of 99.99."""
    return f"{part * 1000 // whole / Decimal(10):.1f} %" if whole > 0 else ""


def _period(start: datetime, end: datetime) -> str:
    if start.day == 1 and end == (start + timedelta(days=32)).replace(day=1):
        return f"{start:%B %Y}"
    return f"{_date(start)} – {_date(end - timedelta(microseconds=1))}"


def _date(instant: datetime) -> str:
    return f"{instant.day} {instant:%B %Y}"
