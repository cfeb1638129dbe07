"""L6: a credit note allocates by largest remainder, so that credits can return an invoice to exactly zero."""

import pytest
from django.db.models import Sum
from hypothesis import given
from hypothesis import strategies as st

from billing.models import CreditNoteLine, Invoice
from billing.money import allocate
from billing.selectors.invoices import owed_minor
from billing.services.credits import issue_credit_note
from tests.billing.conftest import IN_DECEMBER, bill
from tests.factories.billing import subscribed_tenant
from tests.factories.usage import prove_wrong, use

LINES = st.lists(st.integers(0, 10**9), min_size=1, max_size=30)


@given(LINES, st.data())
def test_l6_any_series_of_credits_can_end_at_exactly_zero_on_every_line(
    lines: list[int], data: st.DataObject
) -> None:
    remaining = lines
    for _ in range(data.draw(st.integers(0, 4))):
        credit = data.draw(st.integers(0, sum(remaining)))
        shares = allocate(credit, remaining)
        assert sum(shares) == credit
        remaining = [left - share for left, share in zip(remaining, shares, strict=True)]
        assert all(left >= 0 for left in remaining)
    last = allocate(sum(remaining), remaining)
    assert [left - share for left, share in zip(remaining, last, strict=True)] == [0] * len(lines)


@pytest.mark.usefixtures("live_db")
def test_l6_credit_notes_return_an_invoice_to_exactly_zero() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_111_111, output=333_333, cache_read=777_777)
    use(tenant.pk, input=1_111_111, output=333_333, outcome="semantic")
    use(tenant.pk, model="ocr", input=0, output=0, units=7)
    invoice = bill(tenant)
    left = invoice.net_minor
    for amount_minor in (1, 7, 50, left - 58):
        issue_credit_note(invoice=invoice, amount_minor=amount_minor, reason="step by step", now=IN_DECEMBER)
    credited = CreditNoteLine.objects.values("invoice_line").annotate(total=Sum("net_minor"))
    given_back = {row["invoice_line"]: row["total"] for row in credited}
    assert {line.pk: line.net_minor for line in invoice.lines.all() if line.net_minor} == given_back
    assert owed_minor(invoice=invoice) == 0
    assert Invoice.objects.get().status == "paid"


@pytest.mark.usefixtures("live_db")
def test_l6_an_invoice_that_credits_wrong_hits_returns_to_exactly_zero() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_111_111, output=333_333)
    for _ in range(3):
        prove_wrong(use(tenant.pk, input=777_777, output=222_222, outcome="semantic"))
    use(tenant.pk, input=555_555, output=111_111, outcome="semantic")
    invoice = bill(tenant)
    assert sum(line.net_minor for line in invoice.lines.all() if line.kind == "wrong_hit") < 0
    for amount_minor in (1, 7, invoice.net_minor - 8):
        issue_credit_note(invoice=invoice, amount_minor=amount_minor, reason="step by step", now=IN_DECEMBER)
    credited = CreditNoteLine.objects.values("invoice_line").annotate(total=Sum("net_minor"))
    charged = {line.pk: line.net_minor for line in invoice.lines.all()}
    assert all(0 < row["total"] <= charged[row["invoice_line"]] for row in credited)
    assert owed_minor(invoice=invoice) == 0
    assert Invoice.objects.get().status == "paid"
