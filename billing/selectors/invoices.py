"""Questions about invoices."""

from django.conf import settings
from django.db.models import QuerySet, Sum

from billing.documents import CreditedHit, DocumentLine, InvoiceDocument, Party
from billing.errors import UnknownInvoice
from billing.models import CreditNote, Invoice, InvoiceLine, Payment, WrongHitCredit


def invoice_by_number(number: str) -> Invoice:
    """Return the final invoice with that number.

    Raises:
        UnknownInvoice: there is none.
    """
    try:
        return Invoice.objects.select_related("tenant").get(number=number)
    except Invoice.DoesNotExist:
        raise UnknownInvoice(f"There is no invoice {number!r}.") from None


def paid_minor(*, invoice: Invoice) -> int:
    """Return what was received on the invoice."""
    return _sum(Payment.objects.filter(invoice=invoice), "amount_minor")


def credited_minor(*, invoice: Invoice) -> int:
    """Return what credit notes gave back."""
    return _sum(CreditNote.objects.filter(invoice=invoice), "net_minor")


def owed_minor(*, invoice: Invoice) -> int:
    """Return what is left to pay; negative where more was given back than was left."""
    return invoice.net_minor - credited_minor(invoice=invoice) - paid_minor(invoice=invoice)


def invoice_document(*, invoice: Invoice) -> InvoiceDocument:
    """Return the invoice as it is printed."""
    tenant = invoice.tenant
    return InvoiceDocument(
        seller=Party(settings.SELLER_NAME, settings.SELLER_ADDRESS),
        customer=Party(tenant.name, tenant.billing_address, tenant.billing_email),
        number=invoice.number,
        status=invoice.status,
        currency=invoice.currency,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        issued_at=invoice.finalised_at,
        due_at=invoice.due_at,
        lines=[_document_line(line) for line in invoice.lines.all()],
        list_minor=invoice.list_minor,
        discount_minor=invoice.discount_minor,
        net_minor=invoice.net_minor,
        credited_minor=credited_minor(invoice=invoice),
        paid_minor=paid_minor(invoice=invoice),
        wrong_hits=[
            _credited_hit(credit) for credit in invoice.wrong_hit_credits.select_related("wrong_hit")
        ],
    )


def _document_line(line: InvoiceLine) -> DocumentLine:
    return DocumentLine(**{field: getattr(line, field) for field in DocumentLine._fields})


def _credited_hit(credit: WrongHitCredit) -> CreditedHit:
    hit = credit.wrong_hit
    return CreditedHit(str(hit.event_id), hit.occurred_at, hit.model, hit.reason, credit.charged_accrued)


def _sum(rows: QuerySet[Payment] | QuerySet[CreditNote], field: str) -> int:
    return rows.aggregate(total=Sum(field))["total"] or 0
