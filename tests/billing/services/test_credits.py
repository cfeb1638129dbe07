"""Credit notes give back what an invoice charged, and never more."""

import pytest

from billing.errors import CreditRefused, InvoiceNotOwed
from billing.models import CreditNote, Invoice
from billing.services.credits import issue_credit_note
from billing.services.payments import record_payment, void_invoice
from tests.billing.conftest import IN_DECEMBER, bill
from tests.factories.billing import subscribed_tenant
from tests.factories.usage import use

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def invoice(live_db: str) -> Invoice:
    """Give an open invoice of 5.00 USD on three lines: input 0.50, output 1.50, hits 0, ocr 3.00."""
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_000_000, output=1_000_000)
    use(tenant.pk, input=1_000_000, output=0, outcome="exact")
    use(tenant.pk, model="ocr", input=0, output=0, units=300)
    return bill(tenant)


def credit(invoice: Invoice, amount_minor: int) -> CreditNote:
    return issue_credit_note(invoice=invoice, amount_minor=amount_minor, reason="goodwill", now=IN_DECEMBER)


def test_a_credit_is_spread_over_the_lines_that_charged(invoice: Invoice) -> None:
    note = credit(invoice, 100)
    assert note.number == "CN-2026-000001"
    shares = {line.invoice_line.pool: line.net_minor for line in note.lines.all()}
    assert shares == {"input": 10, "output": 30, "units": 60}
    assert Invoice.objects.get().status == "open"


def test_crediting_all_of_an_open_invoice_settles_it(invoice: Invoice) -> None:
    credit(invoice, 499)
    credit(invoice, 1)
    assert Invoice.objects.get().status == "paid"
    with pytest.raises(CreditRefused, match=r"0\.00 USD remain"):
        credit(invoice, 1)


def test_more_than_remains_is_refused_whole(invoice: Invoice) -> None:
    for amount in (501, 0, -1):
        with pytest.raises(CreditRefused, match=r"5\.00 USD remain"):
            credit(invoice, amount)
    assert not CreditNote.objects.exists()
    credit(invoice, 1)
    assert CreditNote.objects.get().number == "CN-2026-000001"


def test_a_paid_invoice_can_be_credited(invoice: Invoice) -> None:
    record_payment(invoice=invoice, amount_minor=500, method="cash", received_at=IN_DECEMBER)
    assert credit(invoice, 500).net_minor == 500


def test_a_void_invoice_cannot(invoice: Invoice) -> None:
    void_invoice(invoice=invoice, now=IN_DECEMBER)
    with pytest.raises(InvoiceNotOwed, match="is void"):
        credit(invoice, 1)
