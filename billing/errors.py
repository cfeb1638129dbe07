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
├── CreditRefused            409  credit_refused
├── BudgetRefused            400  budget_refused
├── WebhookNotTaken          502  webhook_not_taken
└── StripeError                  502  stripe_error
    ├── StripeNotConfigured      503  stripe_not_configured
    ├── StripeUnavailable        503  stripe_unavailable
    ├── StripeRefused            502  stripe_refused
    ├── StripeDisagrees          409  stripe_disagrees
    ├── StripeAmountUnfit        409  stripe_amount_unfit
    ├── StripeCustomerTaken      409  stripe_customer_taken
    ├── InvoiceNotCollectable    409  invoice_not_collectable
    ├── WebhookSignatureInvalid  400  webhook_signature_invalid
    ├── WebhookMalformed         400  webhook_malformed
    └── WebhookTooLarge          413  webhook_too_large
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


class StripeError(BillingError):
    """Collecting through Stripe did not work; what is ours is as it was."""

    code = "stripe_error"
    status = 502


class StripeNotConfigured(StripeError):
    """No key or secret of Stripe is set; all but collecting through Stripe works without it."""

    code = "stripe_not_configured"
    status = 503


class StripeUnavailable(StripeError):
    """Stripe did not answer, did not let us in, or failed; the same call may work later."""

    code = "stripe_unavailable"
    status = 503

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered  # Stripe keeps what it answered under the idempotency key


class StripeRefused(StripeError):
    """Stripe understood and said no; the same call will not work later."""

    code = "stripe_refused"


class StripeDisagrees(StripeError):
    """Stripe and we hold different things to be true of an invoice; a person has to decide."""

    code = "stripe_disagrees"
    status = 409


class StripeAmountUnfit(StripeError):
    """Stripe cannot hold this amount of this currency."""

    code = "stripe_amount_unfit"
    status = 409


class StripeCustomerTaken(StripeError):
    """The Stripe customer is linked to another tenant."""

    code = "stripe_customer_taken"
    status = 409


class InvoiceNotCollectable(StripeError):
    """Only an open invoice is pushed to Stripe."""

    code = "invoice_not_collectable"
    status = 409


class WebhookSignatureInvalid(StripeError):
    """The webhook is not signed by Stripe, or was signed too long ago."""

    code = "webhook_signature_invalid"
    status = 400


class WebhookMalformed(StripeError):
    """The webhook is signed, but it is no event."""

    code = "webhook_malformed"
    status = 400


class WebhookTooLarge(StripeError):
    """The webhook is larger than any event of Stripe's."""

    code = "webhook_too_large"
    status = 413


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


class BudgetRefused(BillingError):
    """A budget of nothing, or whose soft amount is above its hard one, or of another tenant's key."""

    code = "budget_refused"


class WebhookNotTaken(BillingError):
    """Whoever was to be told did not answer with success, or may not be told at that address."""

    code = "webhook_not_taken"
    status = 502


class CreditRefused(BillingError):
    """A credit of nothing, or of more than remains of the invoice."""

    code = "credit_refused"
    status = 409
