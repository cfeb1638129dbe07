import re
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from pypdf import PdfReader

from billing.documents import (
    WRONG_HITS_SHOWN,
    CreditedHit,
    DocumentLine,
    InvoiceDocument,
    Party,
    render_html,
    render_pdf,
)

OCTOBER, NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (10, 11, 12))
HOSTILE = (
    '#eval("6*7") $x$ *bold* @ref \\ // <script>alert(1)</script> {{ seller }} {% now "Y" %} "quoted" & co'
)


def line(**changes: Any) -> DocumentLine:
    plain = DocumentLine(
        kind="usage",
        model="qwen-small",
        pool="input",
        outcome="miss",
        quality="reported",
        quantity=12_345_678,
        calls=4_321,
        unit_amount=Decimal("0.500000000000"),
        per=1_000_000,
        discount_percent=Decimal(0),
        list_minor=617,
        discount_minor=0,
        net_minor=617,
    )
    return plain._replace(**changes)


HIT = line(
    outcome="exact",
    quantity=98_765_432,
    discount_percent=Decimal("100.0000"),
    list_minor=4938,
    discount_minor=4938,
    net_minor=0,
)
LATE = line(kind="late_usage", list_minor=60, net_minor=60, quantity=1_200_000, original_period_start=OCTOBER)
ESTIMATED = line(quality="estimated", pool="output", quantity=77, calls=1)
CREDIT = line(
    kind="wrong_hit",
    outcome="semantic",
    quantity=3_456_789,
    calls=2,
    discount_percent=Decimal("80.0000"),
    list_minor=0,
    discount_minor=35,
    net_minor=-35,
    original_period_start=OCTOBER,
)
WRONG = CreditedHit(
    event_id="019303c1-0000-7000-8000-000000000001",
    occurred_at=datetime(2026, 10, 14, 12, 31, 7, tzinfo=UTC),
    model="qwen-small",
    reason="Asked again, the model said otherwise.",
    charged=Decimal("0.172839450000000000"),
)
QUARANTINED = line(
    kind="quarantined",
    quality="suspect",
    unit_amount=None,
    per=None,
    list_minor=0,
    net_minor=0,
    quantity=9_001,
    reason="It contradicts itself.",
)


def document(*lines: DocumentLine, **changes: Any) -> InvoiceDocument:
    plain = InvoiceDocument(
        seller=Party("Example Inference Ltd", "12 Harbour Street\nRotterdam"),
        customer=Party("Acme Ltd", "1 Long Road", "ap@acme.example"),
        number="INV-2026-000001",
        status="open",
        currency="USD",
        period_start=NOVEMBER,
        period_end=DECEMBER,
        issued_at=datetime(2026, 12, 2, tzinfo=UTC),
        due_at=datetime(2027, 1, 1, tzinfo=UTC),
        lines=lines,
        list_minor=sum(line.list_minor for line in lines),
        discount_minor=sum(line.discount_minor for line in lines),
        net_minor=sum(line.net_minor for line in lines),
    )
    return plain._replace(**changes)


def words_of_html(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return squeeze(re.sub(r"<[^>]+>", " ", body))


def words_of_pdf(pdf: bytes) -> str:
    return squeeze(" ".join(page.extract_text() for page in PdfReader(BytesIO(pdf)).pages))


def squeeze(text: str) -> str:
    return " ".join(text.split())


def both(value: InvoiceDocument) -> list[str]:
    return [words_of_html(render_html(value)), words_of_pdf(render_pdf(value))]


def test_hits_are_shown_at_nothing_with_what_they_saved() -> None:
    for words in both(document(line(), HIT)):
        assert "Input tokens cache hit · 4,321 calls 98,765,432 0.50 / 1M 49.38 100 % 49.38 0.00" in words
        assert "Input tokens computed · 4,321 calls 12,345,678 0.50 / 1M 6.17 – 0.00 6.17" in words
        assert "88.8 % of the list price" in words


def test_heads_parties_and_totals_are_there() -> None:
    for words in both(document(line(), HIT)):
        for text in (
            "INV-2026-000001", "November 2026", "2 December 2026", "1 January 2027", "12 Harbour Street",
            "Open", "Example Inference Ltd", "Acme Ltd", "ap@acme.example", "55.55", "−49.38", "6.17 USD",
        ):  # fmt: skip
            assert text in words


def test_payments_and_credits_reduce_what_is_due() -> None:
    for words in both(document(line(), paid_minor=600, credited_minor=17, status="paid")):
        assert "Amount due 0.00 USD" in words
        assert "of 6.17 net" in words
        assert "Paid −6.00" in words
        assert "Credited −0.17" in words


def test_late_usage_names_its_own_month() -> None:
    for words in both(document(line(), LATE)):
        assert words.index("Usage in November 2026") < words.index("Late usage of October 2026")


def test_a_credit_names_the_call_its_month_and_why_and_is_not_called_saved() -> None:
    for words in both(document(line(), HIT, CREDIT, wrong_hits=[WRONG])):
        assert "qwen-small Input tokens · 2 calls of October 2026 3,456,789 0.50 / 1M 80 % −0.35" in words
        assert re.search(
            r"019303c1-0000-7000-8000-000000000001 qwen-small · 14 October 2026, 12:31:07 UTC "
            r"Asked again, the model said otherwise\. 0\.17283945( |$)",
            words,
        )
        assert "Saved by the cache −49.38 Credit for wrong answers −0.35 Net 5.82" in words
        assert "88.8 % of the list price" in words
        assert "5.82 USD" in words


def test_without_credits_nothing_is_said_of_wrong_answers() -> None:
    for words in both(document(line())):
        assert "wrong" not in words


def test_many_wrong_hits_are_told_short() -> None:
    for words in both(document(line(), CREDIT, wrong_hits=[WRONG] * (WRONG_HITS_SHOWN + 2_000))):
        assert words.count(WRONG.event_id) == WRONG_HITS_SHOWN
        assert "2,000 more stand in the usage CSV." in words


def test_estimates_are_flagged_and_explained() -> None:
    for words in both(document(ESTIMATED)):
        assert re.search(r"1 call ·? ?estimated", words)
        assert "reported no usage" in words
    for words in both(document(line())):
        assert "estimated" not in words


def test_quarantined_usage_stands_apart_with_its_reason() -> None:
    for words in both(document(line(), QUARANTINED)):
        assert words.index("Amount due 6.17 USD") < words.index("Quarantined usage, not charged")
        assert "9,001 It contradicts itself." in words


def test_an_invoice_of_nothing_charged_has_no_empty_sections() -> None:
    for words in both(document(QUARANTINED)):
        assert "Usage in November" not in words


def test_a_draft_says_so_and_has_no_number() -> None:
    for words in both(document(line(), number=None, status="draft", issued_at=None, due_at=None)):
        assert "Draft invoice" in words
        assert "None" not in words


def test_hostile_text_is_printed_not_run() -> None:
    customer = Party(HOSTILE, f"{HOSTILE}\n#panic()", "#a@b")
    html = render_html(
        document(
            line(model=HOSTILE), line(kind="quarantined", reason=HOSTILE), customer=customer, seller=customer
        )
    )
    assert "<script" not in html
    assert html.count("{{ seller }} {% now &quot;Y&quot; %}") >= 4
    pdf = render_pdf(
        document(
            line(model=HOSTILE),
            CREDIT,
            line(kind="quarantined", reason=HOSTILE),
            customer=customer,
            seller=customer,
            wrong_hits=[WRONG._replace(model=HOSTILE, reason=HOSTILE)],
        )
    )
    words = words_of_pdf(pdf)
    assert '#eval("6*7") $x$ *bold* @ref \\ // <script>alert(1)</script>' in words
    assert "42" not in words
    assert "#panic()" in words


def test_letters_that_the_font_lacks_do_not_stop_the_invoice() -> None:
    assert render_pdf(document(line(), customer=Party("東京 🧾 Ⴀ", ""))).startswith(b"%PDF")


def test_the_same_document_gives_the_same_bytes() -> None:
    assert render_pdf(document(line(), HIT)) == render_pdf(document(line(), HIT))


def test_many_lines_run_over_pages_with_the_head_repeated() -> None:
    lines = [line(model=f"model-{index:03}") for index in range(60)]
    pages = PdfReader(BytesIO(render_pdf(document(*lines)))).pages
    assert len(pages) > 1
    assert "QUANTITY" in pages[1].extract_text()
    assert "Page 2 of" in pages[1].extract_text()


@pytest.mark.parametrize(
    ("currency", "amount"), [("JPY", "617 JPY"), ("KWD", "0.617 KWD"), ("USD", "6.17 USD")]
)
def test_money_has_the_digits_of_its_currency(currency: str, amount: str) -> None:
    for words in both(document(line(), currency=currency)):
        assert amount in words


@pytest.mark.parametrize(
    ("unit_amount", "per", "text"),
    [
        ("0.5", 1_000_000, "0.50 / 1M"),
        ("0.0125", 1, "0.0125"),
        ("1250", 1_000, "1,250.00 / 1k"),
        ("3", 100, "3.00 / 100"),
    ],
)
def test_unit_prices_are_written_in_full(unit_amount: str, per: int, text: str) -> None:
    assert f"12,345,678 {text} 6.17" in both(document(line(unit_amount=Decimal(unit_amount), per=per)))[0]
