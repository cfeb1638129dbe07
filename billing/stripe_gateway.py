"""The only place that speaks to Stripe: customers, invoices and the signatures of webhooks, as plain values.

Every call that changes something carries an idempotency key made of its content and of the ``attempt``: the
same attempt, however often repeated, happens once at Stripe. Stripe keeps its answer under a key for a day,
a refusal too, so the caller counts the attempt up once it has been answered, and not before.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import stripe
from django.conf import settings

from billing.errors import (
    StripeAmountUnfit,
    StripeNotConfigured,
    StripeRefused,
    StripeUnavailable,
    WebhookSignatureInvalid,
)
from billing.money import minor_unit

# It would write an id into the home directory and send it, with facts about this machine, on every call.
stripe.enable_telemetry = False

TIMEOUT_SECONDS = (5, 30)  # to connect, to be answered
NETWORK_RETRIES = 2
LINES_MAX = 250
SIGNATURE_TOLERANCE_SECONDS = 300
INVOICE_METADATA = "zerorate_invoice"
TENANT_METADATA = "zerorate_tenant"

# Where Stripe's smallest unit is not ISO 4217's, and where it counts in tens: https://docs.stripe.com/currencies
_DIGITS = {"ISK": 2, "UGX": 2, "MGA": 0}
_IN_TENS = {"BHD", "JOD", "KWD", "OMR", "TND"}

_CLOSED_DOORS = (
    stripe.APIConnectionError,
    stripe.AuthenticationError,
    stripe.PermissionError,
    stripe.RateLimitError,
)


class RemoteInvoice(NamedTuple):
    """An invoice as Stripe has it; ``total`` in Stripe's smallest unit of the (upper-case) currency."""

    id: str
    status: str
    currency: str
    total: int
    has_lines: bool
    hosted_url: str
    paid_at: int | None


class RemoteLine(NamedTuple):
    """A line for Stripe's invoice; the amount in our minor units, the period in Unix seconds, inclusive."""

    description: str
    amount_minor: int
    period_start: int
    period_end: int


class StripeGateway:
    """A conversation with Stripe; every method makes one call, or one per hundred rows where it reads a list.

    Raises (each method):
        StripeUnavailable: no answer within the time limit, not let in, or a failure on Stripe's side.
        StripeRefused: Stripe understood and said no.
    """

    def __init__(self, client: stripe.StripeClient) -> None:
        self._api = client.v1

    def create_customer(self, *, slug: str, name: str, email: str) -> str:
        """Create a customer and return its id."""
        params: stripe.params.CustomerCreateParams = {"name": name, "metadata": {TENANT_METADATA: slug}}
        if email:
            params["email"] = email
        with _translated():
            return self._api.customers.create(params, _once("customer", slug, 0, params)).id

    def check_customer(self, customer_id: str) -> None:
        """Make sure that a customer exists at Stripe and is not deleted."""
        with _translated():
            customer = self._api.customers.retrieve(customer_id)
        if getattr(customer, "deleted", False):
            raise StripeRefused(f"The Stripe customer {customer_id} is deleted.")

    def fetch_invoice(self, invoice_id: str) -> RemoteInvoice | None:
        """Return an invoice as it stands now; None where Stripe has none: drafts can be deleted there."""
        with _translated():
            try:
                return _remote(self._api.invoices.retrieve(invoice_id))
            except stripe.InvalidRequestError as error:
                if error.code == "resource_missing":
                    return None
                raise

    def find_invoice(self, *, number: str, customer_id: str, created_from: datetime) -> RemoteInvoice | None:
        """Return the customer's invoice that carries our number, created no earlier than an instant."""
        since = int(created_from.timestamp()) - 86_400  # a day's grace: clocks differ
        with _translated():
            page = self._api.invoices.list({"customer": customer_id, "created": {"gte": since}, "limit": 100})
            for invoice in page.auto_paging_iter():
                if getattr(invoice.metadata, INVOICE_METADATA, None) == number:
                    return _remote(invoice)
        return None

    def create_invoice(
        self, *, number: str, customer_id: str, currency: str, days_until_due: int, attempt: int
    ) -> RemoteInvoice:
        """Create an empty draft that Stripe does not advance by itself and that takes no pending items."""
        params: stripe.params.InvoiceCreateParams = {
            "customer": customer_id,
            "currency": currency.lower(),
            "auto_advance": False,
            "collection_method": "send_invoice",
            "days_until_due": days_until_due,
            "number": number,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {INVOICE_METADATA: number},
        }
        with _translated():
            return _remote(self._api.invoices.create(params, _once("create", number, attempt, params)))

    def add_lines(
        self, invoice_id: str, lines: Sequence[RemoteLine], *, number: str, currency: str, attempt: int
    ) -> RemoteInvoice:
        """Add up to 250 lines to a draft, all or none.

        Raises:
            StripeAmountUnfit: Stripe cannot hold one of the amounts.
        """
        assert len(lines) <= LINES_MAX, "lines are aggregated before they come here"
        params: stripe.params.InvoiceAddLinesParams = {"lines": [_line(line, currency) for line in lines]}
        with _translated():
            options = _once("lines", number, attempt, params)
            return _remote(self._api.invoices.add_lines(invoice_id, params, options))

    def finalise_invoice(self, invoice_id: str, *, number: str, attempt: int) -> RemoteInvoice:
        """Finalise a draft; from here on Stripe collects it."""
        params: stripe.params.InvoiceFinalizeInvoiceParams = {"auto_advance": True}
        with _translated():
            options = _once("finalise", number, attempt, params)
            return _remote(self._api.invoices.finalize_invoice(invoice_id, params, options))

    def void_invoice(self, invoice_id: str, *, number: str, attempt: int) -> RemoteInvoice:
        """Void an open or uncollectible invoice."""
        with _translated():
            return _remote(
                self._api.invoices.void_invoice(invoice_id, {}, _once("void", number, attempt, {}))
            )

    def mark_uncollectible(self, invoice_id: str, *, number: str, attempt: int) -> RemoteInvoice:
        """Give an open invoice up."""
        with _translated():
            options = _once("uncollectible", number, attempt, {})
            return _remote(self._api.invoices.mark_uncollectible(invoice_id, {}, options))

    def mark_paid(self, invoice_id: str, *, number: str, attempt: int) -> RemoteInvoice:
        """Tell Stripe that an open or uncollectible invoice was paid without it."""
        params: stripe.params.InvoicePayParams = {"paid_out_of_band": True}
        with _translated():
            return _remote(self._api.invoices.pay(invoice_id, params, _once("paid", number, attempt, params)))


def is_configured() -> bool:
    """Return whether there is a key to speak to Stripe with."""
    return bool(settings.STRIPE_API_KEY)


@contextmanager
def connect() -> Iterator[StripeGateway]:
    """Open a conversation with Stripe and close its connections at the end.

    Raises:
        StripeNotConfigured: ``STRIPE_API_KEY`` is not set.
    """
    if not is_configured():
        raise StripeNotConfigured("Stripe is not configured: set STRIPE_API_KEY to collect through it.")
    http = stripe.RequestsClient(timeout=TIMEOUT_SECONDS)
    base: Any = {"api": settings.STRIPE_API_BASE} if settings.STRIPE_API_BASE else {}
    client = stripe.StripeClient(
        settings.STRIPE_API_KEY, base_addresses=base, http_client=http, max_network_retries=NETWORK_RETRIES
    )
    try:
        yield StripeGateway(client)
    finally:
        http.close()  # type: ignore[no-untyped-call]


def verify_signature(body: bytes, header: str) -> None:
    """Make sure that Stripe signed this raw body within the last five minutes.

    The scheme is HMAC-SHA256 over ``<timestamp>.<body>``: https://docs.stripe.com/webhooks#verify-manually.

    Raises:
        StripeNotConfigured: ``STRIPE_WEBHOOK_SECRET`` is not set.
        WebhookSignatureInvalid: it did not, or longer ago.
    """
    if not settings.STRIPE_WEBHOOK_SECRET:
        raise StripeNotConfigured("Webhooks are not configured: set STRIPE_WEBHOOK_SECRET to take them.")
    try:
        # Stripe's own check compares text, and fails on signatures outside ASCII instead of refusing them.
        ascii_header = header.encode("ascii").decode()
        stripe.WebhookSignature.verify_header(
            body, ascii_header, settings.STRIPE_WEBHOOK_SECRET, SIGNATURE_TOLERANCE_SECONDS
        )
    except UnicodeError as error:
        raise WebhookSignatureInvalid("Neither the body nor its signature are what Stripe sends.") from error
    except stripe.SignatureVerificationError as error:
        raise WebhookSignatureInvalid(error.user_message or "The signature does not verify.") from error


def stripe_amount(amount_minor: int, currency: str) -> int:
    """Return an amount in Stripe's smallest unit of the currency, which is not ISO 4217's everywhere.

    Raises:
        StripeAmountUnfit: Stripe's unit is too coarse for it.
    """
    shift = _DIGITS.get(currency, minor_unit(currency)) - minor_unit(currency)
    finer, coarser = int(10 ** max(shift, 0)), int(10 ** max(-shift, 0))
    amount, rest = divmod(amount_minor * finer, coarser)
    if rest or (currency in _IN_TENS and amount % 10):
        raise StripeAmountUnfit(
            f"Stripe cannot hold {amount_minor} minor units of {currency}: too fine for it."
        )
    return amount


def _line(line: RemoteLine, currency: str) -> stripe.params.InvoiceAddLinesParamsLine:
    return {
        "amount": stripe_amount(line.amount_minor, currency),
        "description": line.description,
        "discountable": False,
        "period": {"start": line.period_start, "end": line.period_end},
    }


def _remote(invoice: stripe.Invoice) -> RemoteInvoice:
    return RemoteInvoice(
        id=invoice.id,
        status=invoice.status or "",
        currency=invoice.currency.upper(),
        total=invoice.total,
        has_lines=bool(invoice.lines.data),
        hosted_url=getattr(invoice, "hosted_invoice_url", None) or "",
        paid_at=invoice.status_transitions.paid_at,
    )


def _once(step: str, subject: str, attempt: int, params: Mapping[str, Any]) -> stripe.RequestOptions:
    content = hashlib.sha256(msgspec.json.encode(params, order="sorted")).hexdigest()[:32]
    return {"idempotency_key": f"zerorate:{subject}:{step}:{attempt}:{content}"}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _CLOSED_DOORS as error:
        raise StripeUnavailable(_words(error)) from error
    except stripe.APIError as error:
        raise StripeUnavailable(_words(error), answered=True) from error
    except stripe.StripeError as error:
        raise StripeRefused(_words(error)) from error


def _words(error: stripe.StripeError) -> str:
    words = " ".join((error.user_message or type(error).__name__).split())
    return f"Stripe: {words}" + (f" ({error.code})" if error.code else "")
