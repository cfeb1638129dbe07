"""What can go wrong with billing.

BillingError
├── PriceInForce             409  price_in_force
├── CurrencyMismatch         409  currency_mismatch
├── UnknownInvoice           404  unknown_invoice
├── PeriodNotOver            409  period_not_over
├── PeriodAlreadyClosed      409  period_already_closed
├── EarlierPeriodOpen        409  earlier_period_open
├── NoPlan                   409  no_plan
├── InvoicedUsageChanged     409  invoiced_usage_changed
├── DraftOutdated            409  draft_outdated
├── InvoiceNotDraft          409  invoice_not_draft
├── InvoiceNotOwed           409  invoice_not_owed
├── PaymentRefused           409  payment_refused
└── CreditRefused            409  credit_refused
"""


class BillingError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "billing_error"
    status = 400


class PriceInForce(BillingError):
    """A change to the price book would rewrite what usage was rated with."""

    code = "price_in_force"
    status = 409


class CurrencyMismatch(BillingError):
    """A tenant is billed in one currency for good."""

    code = "currency_mismatch"
    status = 409


class UnknownInvoice(BillingError):
    """No invoice has that number."""

    code = "unknown_invoice"
    status = 404


class PeriodNotOver(BillingError):
    """The month still runs, so more usage will come."""

    code = "period_not_over"
    status = 409


class PeriodAlreadyClosed(BillingError):
    """The period has a final invoice."""

    code = "period_already_closed"
    status = 409


class EarlierPeriodOpen(BillingError):
    """An earlier month has usage and no invoice; months are closed in order."""

    code = "earlier_period_open"
    status = 409


class NoPlan(BillingError):
    """A tenant has usage and was never on a plan, so there is no currency to invoice in."""

    code = "no_plan"
    status = 409


class InvoicedUsageChanged(BillingError):
    """Usage that is on an invoice would be rated differently now; that takes a person and a credit note."""

    code = "invoiced_usage_changed"
    status = 409


class DraftOutdated(BillingError):
    """Another invoice was finalised or voided since the draft was made; draft again."""

    code = "draft_outdated"
    status = 409


class InvoiceNotDraft(BillingError):
    """Only a draft can be finalised."""

    code = "invoice_not_draft"
    status = 409


class InvoiceNotOwed(BillingError):
    """The invoice is in a state in which nothing is owed on it, or in which this cannot be done."""

    code = "invoice_not_owed"
    status = 409


class PaymentRefused(BillingError):
    """A payment of nothing, of more than is owed, or under a reference that names another."""

    code = "payment_refused"
    status = 409


class CreditRefused(BillingError):
    """A credit of nothing, or of more than remains of the invoice."""

    code = "credit_refused"
    status = 409
