"""Our lines as Stripe shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import StripeAmountUnfit
from billing.stripe_gateway import LINES_MAX, stripe_amount
from billing.stripe_lines import stripe_lines
from tests.billing.stripe.conftest import MISS, MakeInvoice


@pytest.mark.parametrize(
    ("amount_minor", "currency", "theirs"),
    [
        (1999, "USD", 1999),
        (1999, "JPY", 1999),
        (5, "ISK", 500),
        (5, "UGX", 500),
        (1200, "MGA", 12),
        (1990, "KWD", 1990),
        (0, "KWD", 0),
        (-1999, "EUR", -1999),
    ],
)
def test_amounts_are_in_stripes_smallest_unit(amount_minor: int, currency: str, theirs: int) -> None:
    assert stripe_amount(amount_minor, currency) == theirs


@pytest.mark.parametrize(("amount_minor", "currency"), [(1, "MGA"), (1250, "MGA"), (1, "KWD"), (-1, "OMR")])
def test_what_stripe_cannot_hold_is_refused_not_rounded(amount_minor: int, currency: str) -> None:
    with pytest.raises(StripeAmountUnfit, match=f"{amount_minor} minor units of {currency}"):
        stripe_amount(amount_minor, currency)


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12), st.sampled_from(["USD", "JPY", "ISK"]))
def test_the_sum_of_the_lines_is_the_total_at_stripe_too(one: int, other: int, currency: str) -> None:
    assert stripe_amount(one, currency) + stripe_amount(other, currency) == stripe_amount(
        one + other, currency
    )


NOTHING = "list price 0.00 USD, saved 0.00 USD"


def test_a_line_says_what_was_used_and_saved(make_invoice: MakeInvoice) -> None:
    late = {"kind": "late_usage", "original_period_start": "2025-12-01T00:00:00Z"}
    quarantined = {"kind": "quarantined", "quality": "suspect", "list_minor": 0, "net_minor": 0}
    half = {"outcome": "semantic", "list_minor": 100, "discount_minor": 50, "net_minor": 50}
    invoice = make_invoice(MISS, MISS | half, MISS | late, MISS | quarantined)

    assert [(line.amount_minor, line.description) for line in stripe_lines(invoice)] == [
        (1234, "ocr, Input, miss: 12,345 in 3 calls; list price 12.34 USD, saved 0.00 USD"),
        (50, "ocr, Input, semantic hit: 12,345 in 3 calls; list price 1.00 USD, saved 0.50 USD"),
        (
            1234,
            "ocr, Input, miss: 12,345 in 3 calls, late usage of 2025-12; list price 12.34 USD, saved 0.00 USD",
        ),
        (
            0,
            f"ocr, Input, miss: 12,345 in 3 calls, quarantined and not charged; {NOTHING}",
        ),
    ]


def test_the_period_is_inclusive(make_invoice: MakeInvoice) -> None:
    invoice = make_invoice()

    [line, _] = stripe_lines(invoice)

    assert line.period_start == invoice.period_start.timestamp()
    assert line.period_end + 1 == invoice.period_end.timestamp()


@pytest.mark.parametrize(
    ("models", "expected"),
    [(250, 250), (251, 1)],
)
def test_lines_are_summed_no_further_than_needed(
    make_invoice: MakeInvoice, models: int, expected: int
) -> None:
    invoice = make_invoice(*({**MISS, "model": f"model-{serial}"} for serial in range(models)))

    lines = stripe_lines(invoice)

    assert len(lines) == expected <= LINES_MAX
    assert sum(line.amount_minor for line in lines) == invoice.net_minor


def test_sums_over_many_models_say_how_many(make_invoice: MakeInvoice) -> None:
    invoice = make_invoice(*({**MISS, "model": f"model-{serial}"} for serial in range(251)))

    [line] = stripe_lines(invoice)

    assert line.description == "251 models: 251 lines together; list price 3,097.34 USD, saved 0.00 USD"


def test_a_long_name_is_cut(make_invoice: MakeInvoice) -> None:
    invoice = make_invoice({**MISS, "model": "m" * 600})

    assert len(stripe_lines(invoice)[0].description) == 500


CREDIT = {
    "kind": "wrong_hit",
    "outcome": "semantic",
    "original_period_start": "2025-12-01T00:00:00Z",
    "list_minor": 0,
    "discount_minor": 34,
    "net_minor": -34,
}


def test_a_credit_is_a_line_of_its_own_below_zero(make_invoice: MakeInvoice) -> None:
    invoice = make_invoice(MISS, MISS | CREDIT)
    line = stripe_lines(invoice)[1]
    assert line.amount_minor == -34
    assert line.description == "ocr, Input, semantic hit: credit for 3 wrong hits of 2025-12; comes back"


def test_credits_stay_apart_however_few_lines_there_may_be(make_invoice: MakeInvoice) -> None:
    models = [{"model": f"model-{number}"} for number in range(LINES_MAX)]
    invoice = make_invoice(*(MISS | model | kind for model in models for kind in ({}, CREDIT)))
    lines = stripe_lines(invoice)
    assert [line.amount_minor for line in lines] == [1234 * LINES_MAX, -34 * LINES_MAX]
    assert (
        lines[1].description
        == f"{LINES_MAX} models: credit for wrong hits, {LINES_MAX} lines together; comes back"
    )
    assert sum(line.amount_minor for line in lines) == invoice.net_minor
