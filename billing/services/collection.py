"""Collecting through Stripe: link a tenant, push its invoices, keep both sides of an invoice in step.

No function here may run inside a transaction: Stripe is asked while no lock is held, and each change of ours
is a short transaction of its own. Every function may be repeated after a crash at any point: what Stripe
already holds is looked up before anything is made, and what is made carries an idempotency key.
"""

import logging
from datetime import UTC, datetime

from django.db import IntegrityError, transaction
from django.db.models import F

from billing.errors import (
    BillingError,
    InvoiceNotCollectable,
    StripeAmountUnfit,
    StripeCustomerTaken,
    StripeDisagrees,
    StripeRefused,
    StripeUnavailable,
)
from billing.models import Invoice, StripeCustomer, StripeInvoice
from billing.money import format_money
from billing.selectors.invoices import owed_minor
from billing.services.payments import mark_uncollectible, record_payment, void_invoice
from billing.stripe_gateway import RemoteInvoice, StripeGateway, connect, stripe_amount
from billing.stripe_lines import stripe_lines
from tenants.models import Tenant

logger = logging.getLogger(__name__)


def link_customer(*, tenant: Tenant, customer_id: str | None = None) -> StripeCustomer:
    """Link *tenant* to the Stripe customer given, else keep its link, else make a customer. Idempotent.

    From then on its open invoices are pushed.

    Raises:
        StripeCustomerTaken: the customer is linked to another tenant.
        StripeNotConfigured, StripeUnavailable, StripeRefused: nothing is linked.
    """
    linked = StripeCustomer.objects.filter(tenant=tenant).first()
    if linked is not None and customer_id in {None, linked.customer_id}:
        return linked
    with connect() as stripe:
        if customer_id is None:
            customer_id = stripe.create_customer(
                slug=tenant.slug, name=tenant.name, email=tenant.billing_email
            )
        else:
            stripe.check_customer(customer_id)
    return _save_link(tenant, customer_id)


def push_invoice(*, invoice: Invoice, now: datetime) -> StripeInvoice:
    """Bring an open invoice to Stripe, which finalises it if its total is ours and collects it from then on.

    A refusal, or a total that differs, parks it with the problem written down; pushing again takes it up
    where it stands. Idempotent; a pushed invoice stays as it is.

    Raises:
        InvoiceNotCollectable: the invoice is not open.
        StripeNotConfigured: nothing happened.
        StripeUnavailable: it stays pending; push it again later.
    """
    if invoice.status != Invoice.Status.OPEN:
        raise InvoiceNotCollectable(
            f"{invoice} is {invoice.status}: only open invoices are pushed to Stripe."
        )
    customer = link_customer(tenant=invoice.tenant)
    row, _ = StripeInvoice.objects.get_or_create(invoice=invoice)
    if row.state == StripeInvoice.State.PUSHED:
        return row
    try:
        with connect() as stripe:
            remote = _bring(stripe, row, customer.customer_id)
    except StripeUnavailable as error:
        _write_down(row, error, answered=error.answered)
        raise
    except (StripeRefused, StripeDisagrees, StripeAmountUnfit) as error:
        _write_down(row, error, answered=True, state=StripeInvoice.State.PARKED)
        logger.exception("stripe_invoice_parked invoice=%s", invoice.number)
    else:
        _save_pushed(row, remote, now)
    row.refresh_from_db()
    return row


def align_invoice(*, row: StripeInvoice, now: datetime) -> None:
    """Fetch Stripe's present status of an invoice and bring the side that lags behind up to the other.

    Only present states count, never the story that led there, so it may run any number of times in any order.
    Paid and void are final on both sides. Idempotent.

    Raises:
        StripeDisagrees: both sides are final and differ, Stripe was paid another amount, or has it no more.
        InvoiceNotOwed: it is void at Stripe, and here something was paid or credited.
        StripeNotConfigured, StripeUnavailable, StripeRefused: nothing of ours has changed.
    """
    row.invoice.refresh_from_db()
    try:
        with connect() as stripe:
            remote = _carry_over(stripe, row, _fetch(stripe, row))
        _take_over(row.invoice_id, remote, now)
    except BillingError as error:
        _write_down(row, error, answered=isinstance(error, StripeRefused))
        raise
    _save_seen(row, remote)


def _bring(stripe: StripeGateway, row: StripeInvoice, customer_id: str) -> RemoteInvoice:
    """Find or make the invoice at Stripe and take each step that it has not taken yet."""
    number, currency, attempt = str(row.invoice.number), row.invoice.currency, row.tries
    _refuse_partly_settled(row.invoice, "collect the rest by hand")
    remote = _find(stripe, row, customer_id) or _create(stripe, row, customer_id)
    StripeInvoice.objects.filter(pk=row.pk).update(stripe_id=remote.id, stripe_status=remote.status)
    if remote.status == "draft" and not remote.has_lines:
        lines = stripe_lines(row.invoice)
        remote = stripe.add_lines(remote.id, lines, number=number, currency=currency, attempt=attempt)
    _compare(row.invoice, remote)
    if remote.status == "draft":
        remote = stripe.finalise_invoice(remote.id, number=number, attempt=attempt)
        _compare(row.invoice, remote)
    return remote


def _find(stripe: StripeGateway, row: StripeInvoice, customer_id: str) -> RemoteInvoice | None:
    """Look for the invoice at Stripe: a crash may have come between its making and our noting its id."""
    known = None if row.stripe_id is None else stripe.fetch_invoice(row.stripe_id)
    if known is not None:
        return known
    assert row.invoice.finalised_at is not None, "an open invoice is finalised"
    return stripe.find_invoice(
        number=str(row.invoice.number), customer_id=customer_id, created_from=row.invoice.finalised_at
    )


def _create(stripe: StripeGateway, row: StripeInvoice, customer_id: str) -> RemoteInvoice:
    invoice = row.invoice
    assert invoice.finalised_at is not None, "an open invoice is finalised"
    credit = (invoice.due_at or invoice.finalised_at) - invoice.finalised_at
    return stripe.create_invoice(
        number=str(invoice.number),
        customer_id=customer_id,
        currency=invoice.currency,
        days_until_due=credit.days,
        attempt=row.tries,
    )


def _compare(invoice: Invoice, remote: RemoteInvoice) -> None:
    ours = stripe_amount(invoice.net_minor, invoice.currency), invoice.currency
    theirs = remote.total, remote.currency
    if ours != theirs:
        raise StripeDisagrees(
            f"{invoice} is {ours[0]} {ours[1]} here and {theirs[0]} {theirs[1]} at Stripe ({remote.id}, "
            f"{remote.status}), in Stripe's smallest unit."
        )


def _fetch(stripe: StripeGateway, row: StripeInvoice) -> RemoteInvoice:
    assert row.stripe_id is not None, "only what Stripe has can be aligned"
    remote = stripe.fetch_invoice(row.stripe_id)
    if remote is None:
        raise StripeDisagrees(
            f"{row.invoice} is {row.invoice.status} here and gone from Stripe ({row.stripe_id})."
        )
    return remote


def _carry_over(stripe: StripeGateway, row: StripeInvoice, remote: RemoteInvoice) -> RemoteInvoice:
    """Tell Stripe what ended here."""
    number, attempt = str(row.invoice.number), row.tries
    match row.invoice.status, remote.status:
        case "void", "open" | "uncollectible":
            return stripe.void_invoice(remote.id, number=number, attempt=attempt)
        case "uncollectible", "open":
            return stripe.mark_uncollectible(remote.id, number=number, attempt=attempt)
        case "paid", "open" | "uncollectible":
            return stripe.mark_paid(remote.id, number=number, attempt=attempt)
    return remote


@transaction.atomic
def _take_over(invoice_id: int, remote: RemoteInvoice, now: datetime) -> None:
    """Let end here what ended at Stripe; locked, because the same event may be worked twice at once."""
    invoice = Invoice.objects.select_for_update().get(pk=invoice_id)
    match invoice.status, remote.status:
        case "open" | "uncollectible", "paid":
            _compare(invoice, remote)
            _record_payment(invoice, remote, now)
        case "open" | "uncollectible", "void":
            void_invoice(invoice=invoice, now=now)
        case "open", "uncollectible":
            mark_uncollectible(invoice=invoice, now=now)
        case "void", "paid":
            raise StripeDisagrees(
                f"{invoice} is void here and was paid at Stripe ({remote.id}): refund it there."
            )


def _refuse_partly_settled(invoice: Invoice, advice: str) -> None:
    """Stripe holds the whole total of an invoice, not what payments and credit notes have left of it."""
    owed = owed_minor(invoice=invoice)
    if owed != invoice.net_minor:
        left, whole = format_money(owed, invoice.currency), format_money(invoice.net_minor, invoice.currency)
        raise StripeDisagrees(f"{invoice} owes {left} of {whole}: {advice}.")


def _record_payment(invoice: Invoice, remote: RemoteInvoice, now: datetime) -> None:
    _refuse_partly_settled(
        invoice, f"refund the rest of {remote.id} at Stripe and record the payment by hand"
    )
    record_payment(
        invoice=invoice,
        amount_minor=invoice.net_minor,
        method="stripe",
        reference=remote.id,
        received_at=now if remote.paid_at is None else datetime.fromtimestamp(remote.paid_at, UTC),
    )


def _save_link(tenant: Tenant, customer_id: str) -> StripeCustomer:
    try:
        with transaction.atomic():
            link, _ = StripeCustomer.objects.update_or_create(
                tenant=tenant, defaults={"customer_id": customer_id}
            )
    except IntegrityError as error:
        raise StripeCustomerTaken(f"{customer_id} is linked to another tenant.") from error
    return link


def _save_pushed(row: StripeInvoice, remote: RemoteInvoice, now: datetime) -> None:
    _save_seen(row, remote)
    waiting = StripeInvoice.objects.filter(pk=row.pk).exclude(state=StripeInvoice.State.PUSHED)
    waiting.update(state=StripeInvoice.State.PUSHED, pushed_at=now)


def _save_seen(row: StripeInvoice, remote: RemoteInvoice) -> None:
    StripeInvoice.objects.filter(pk=row.pk).update(
        stripe_status=remote.status, hosted_url=remote.hosted_url, problem=""
    )


def _write_down(row: StripeInvoice, error: BillingError, *, answered: bool, state: str | None = None) -> None:
    """Keep the problem; once Stripe has answered, the next attempt needs keys of its own.

    What another worker has pushed meanwhile is left alone.
    """
    rows = StripeInvoice.objects.filter(pk=row.pk)
    rows.update(problem=str(error), tries=F("tries") + int(answered))
    if state is not None:
        rows.exclude(state=StripeInvoice.State.PUSHED).update(state=state)
