"""When to speak to Stripe: three sweeps; what fails is taken up by the next one. Without a key they rest."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from celery import shared_task
from django.utils import timezone

from billing.errors import BillingError, StripeUnavailable
from billing.models import Invoice, StripeInvoice
from billing.services import collection, webhooks
from billing.stripe_gateway import is_configured

logger = logging.getLogger(__name__)
Row = TypeVar("Row")


@shared_task(ignore_result=True)
def push_invoices() -> None:
    """Push the open invoices of tenants that are linked to Stripe; parked ones wait for a person."""
    if is_configured():
        waiting = Invoice.objects.filter(status=Invoice.Status.OPEN, tenant__stripe_customer__isnull=False)
        settled = [StripeInvoice.State.PUSHED, StripeInvoice.State.PARKED]
        invoices = waiting.exclude(stripe_invoice__state__in=settled).select_related("tenant")
        _sweep(invoices, lambda invoice: collection.push_invoice(invoice=invoice, now=timezone.now()))


@shared_task(ignore_result=True)
def align_invoices() -> None:
    """Bring invoices that ended on one side only to the same end on the other."""
    if is_configured():
        rows = StripeInvoice.objects.out_of_step().select_related("invoice")
        _sweep(rows, lambda row: collection.align_invoice(row=row, now=timezone.now()))


@shared_task(ignore_result=True)
def work_webhooks() -> None:
    """Work the webhooks that wait in the inbox."""
    if is_configured():
        webhooks.work(now=timezone.now())


def _sweep(rows: Iterable[Row], step: Callable[[Row], object]) -> None:
    for row in rows:
        try:
            step(row)
        except StripeUnavailable as error:
            logger.warning("stripe_unavailable problem=%s", error)
            return
        except BillingError:
            logger.exception("stripe_step_failed row=%s", row)
