"""The inbox of Stripe's webhooks: verified and stored at once, worked later.

The rule: an event only says that something about an invoice has changed. What is true is fetched from Stripe
when the event is worked, so neither the order nor the number of deliveries matters, and an old event undoes
nothing.
"""

import logging
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from django.db import transaction

from billing.errors import BillingError, StripeUnavailable, WebhookMalformed, WebhookTooLarge
from billing.models import StripeInvoice, StripeWebhook
from billing.services.collection import align_invoice
from billing.stripe_gateway import verify_signature

BODY_BYTES_MAX = 1 << 20
FOLLOWED = frozenset(
    {"invoice.paid", "invoice.payment_succeeded", "invoice.voided", "invoice.marked_uncollectible"}
)
FIRST_RETRY_AFTER = timedelta(minutes=5)

logger = logging.getLogger(__name__)


class _EventObject(msgspec.Struct):
    id: str | None = None


class _EventData(msgspec.Struct):
    object: _EventObject


class _Event(msgspec.Struct):
    """The part of an event that is read here."""

    id: str
    object: Literal["event"]
    type: str
    data: _EventData


def receive(*, body: bytes, signature: str) -> None:
    """Store the event that Stripe delivered, once, whatever its type.

    Raises:
        WebhookTooLarge: the body has more than 1 MiB.
        WebhookSignatureInvalid: Stripe did not sign this raw body within the last five minutes.
        WebhookMalformed: the body is no event.
        StripeNotConfigured: there is no secret to verify with.
    """
    if len(body) > BODY_BYTES_MAX:
        raise WebhookTooLarge(f"A webhook has at most {BODY_BYTES_MAX} bytes.")
    verify_signature(body, signature)
    try:
        payload: Any = msgspec.json.decode(body)
        event = msgspec.convert(payload, _Event)
    except msgspec.MsgspecError as error:
        raise WebhookMalformed(f"The body is no event: {error}.") from error
    webhook = StripeWebhook(event_id=event.id, type=event.type, payload=payload)
    StripeWebhook.objects.bulk_create([webhook], ignore_conflicts=True)


def work(*, now: datetime, limit: int = 100) -> int:
    """Work up to *limit* waiting events and return how many were worked.

    An event that fails keeps its problem and waits: 5 minutes after the first try, twice as long after each
    further one, 8 tries in all. While Stripe is out of reach the rest waits for the next sweep. Several
    workers may sweep at once.
    """
    worked = 0
    for _ in range(limit):
        webhook = _claim(now)
        if webhook is None:
            break
        try:
            _apply(webhook, now)
        except StripeUnavailable as error:
            _keep(webhook, error)
            break
        except Exception as error:  # noqa: BLE001 - a bug met on one event must not hold up those behind it
            _keep(webhook, error)
        else:
            StripeWebhook.objects.filter(pk=webhook.pk).update(worked_at=now, problem="")
            worked += 1
    return worked


def retry(*, webhook: StripeWebhook, now: datetime) -> None:
    """Let an event that was given up be tried again, from the next sweep on."""
    StripeWebhook.objects.filter(pk=webhook.pk, worked_at=None).update(tries=0, due_at=now)


@transaction.atomic
def _claim(now: datetime) -> StripeWebhook | None:
    """Take the longest waiting event; until it is due again, no other worker takes it."""
    webhook = StripeWebhook.objects.due(now).select_for_update(skip_locked=True).first()
    if webhook is not None:
        webhook.due_at = now + FIRST_RETRY_AFTER * 2**webhook.tries
        webhook.tries += 1
        webhook.save(update_fields=["due_at", "tries"])
    return webhook


def _apply(webhook: StripeWebhook, now: datetime) -> None:
    """Align the invoice that the event is about, where it is one of ours."""
    if webhook.type in FOLLOWED:
        event = msgspec.convert(webhook.payload, _Event)
        row = StripeInvoice.objects.select_related("invoice").filter(stripe_id=event.data.object.id).first()
        if row is not None:
            align_invoice(row=row, now=now)


def _keep(webhook: StripeWebhook, error: Exception) -> None:
    known = isinstance(error, BillingError)
    given_up = webhook.tries >= StripeWebhook.TRIES_MAX
    StripeWebhook.objects.filter(pk=webhook.pk).update(problem=str(error) if known else repr(error))
    logger.log(
        logging.ERROR if given_up or not known else logging.WARNING,
        "stripe_webhook_%s event=%s type=%s try=%s problem=%s",
        "given_up" if given_up else "failed",
        webhook.event_id,
        webhook.type,
        webhook.tries,
        error,
        exc_info=None if known else error,
    )
