"""What an operator may do to an invoice; which of it, its status decides."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.core.validators import DecimalValidator
from django.utils import timezone
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.errors import BillingError, StripeRefused
from billing.models import Invoice, StripeInvoice
from billing.money import format_money, minor_unit, settle, to_decimal
from billing.selectors.invoices import owed_minor
from billing.selectors.verification import verify_invoice
from billing.services.collection import push_invoice
from billing.services.credits import issue_credit_note
from billing.services.invoicing import draft_invoice, finalise_invoice
from billing.services.payments import mark_uncollectible, record_payment, void_invoice
from metering.periods import Period
from tenants.admin_pages import Lever, ShowOnce

MAX_DIGITS = 18
METHODS = [("bank_transfer", "bank transfer"), ("cash", "cash"), ("card", "card"), ("other", "other")]
Status = Invoice.Status


class InvoiceLever(Lever):
    """A lever that an invoice in some statuses has."""

    permission, refusals = "billing.change_invoice", (BillingError,)
    statuses: tuple[str, ...] = ()

    @classmethod
    def applies(cls, row: Invoice) -> bool:
        return row.status in cls.statuses


class RefreshDraft(InvoiceLever):
    """Rate the period again."""

    name, title, icon = "refresh", "Refresh draft", "refresh"
    explanation = "Rates the period again, with the usage and the prices known by now."
    statuses = (Status.DRAFT,)

    def pull(self, *, now: datetime) -> str:
        period = Period(self.row.period_start, self.row.period_end)
        draft = draft_invoice(tenant=self.row.tenant, period=period, now=now)
        if draft is None:
            return "There is nothing to invoice any more, so the draft is gone."
        return f"The draft is now {format_money(draft.net_minor, draft.currency)}."


class Finalise(InvoiceLever):
    """Give the draft its number."""

    name, title, icon, variant = "finalise", "Finalise", "task_alt", ActionVariant.PRIMARY
    explanation = (
        "Takes the next number and freezes the lines. This is final: later usage goes on the next invoice."
    )
    statuses = (Status.DRAFT,)

    def pull(self, *, now: datetime) -> str:
        invoice = finalise_invoice(invoice=self.row, now=now)
        return f"Invoice {invoice.number} is {invoice.status}."


class Void(InvoiceLever):
    """Cancel the invoice as a whole."""

    name, title, icon, variant = "void", "Void", "cancel", ActionVariant.DANGER
    is_rare = True
    explanation = (
        "Cancels this invoice as a whole. Its number stays taken and its period may be invoiced again."
    )
    statuses = (Status.OPEN, Status.UNCOLLECTIBLE)

    def pull(self, *, now: datetime) -> str:
        void_invoice(invoice=self.row, now=now)
        return f"Invoice {self.row} is void."


class MarkUncollectible(InvoiceLever):
    """Give up collecting."""

    name, title, icon = "uncollectible", "Mark uncollectible", "money_off"
    is_rare = True
    explanation = "The money is not expected any more. A payment may still be recorded."
    statuses = (Status.OPEN,)

    def pull(self, *, now: datetime) -> str:
        mark_uncollectible(invoice=self.row, now=now)
        return f"Invoice {self.row} is uncollectible."


class MoneyLever(InvoiceLever):
    """A lever that asks for an amount in the invoice's currency, at first what is owed."""

    amount = forms.DecimalField(min_value=Decimal(0), widget=UnfoldAdminDecimalFieldWidget)

    def __init__(self, *args: Any, row: Invoice, **kwargs: Any) -> None:
        super().__init__(*args, row=row, **kwargs)
        amount = self.fields["amount"]
        amount.label = f"Amount ({row.currency})"
        amount.initial = to_decimal(owed_minor(invoice=row), row.currency)
        amount.validators.append(DecimalValidator(MAX_DIGITS, minor_unit(row.currency)))

    def amount_minor(self) -> int:
        """Return the amount asked for in minor units."""
        return settle(self.cleaned_data["amount"], self.row.currency)


class RecordPayment(MoneyLever):
    """Note money received."""

    name, title, icon, variant = "record-payment", "Record payment", "payments", ActionVariant.SUCCESS
    permission = "billing.add_payment"
    explanation = "Money that came by another way than Stripe. The invoice is paid once all of it is covered."
    statuses = (Status.OPEN, Status.UNCOLLECTIBLE)

    method = forms.ChoiceField(choices=METHODS, widget=UnfoldAdminSelectWidget)
    reference = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="As on the statement; it keeps the same payment from being recorded twice.",
    )
    received_at = forms.SplitDateTimeField(
        label="Received at (UTC)", initial=timezone.now, widget=UnfoldAdminSplitDateTimeWidget
    )

    def pull(self, *, now: datetime) -> str:
        del now
        asked = self.cleaned_data
        record_payment(
            invoice=self.row,
            amount_minor=self.amount_minor(),
            method=asked["method"],
            reference=asked["reference"],
            received_at=asked["received_at"],
        )
        return "The payment is recorded."


class IssueCreditNote(MoneyLever):
    """Give money back."""

    name, title, icon = "credit", "Credit", "undo"
    permission = "billing.add_creditnote"
    explanation = (
        "Issues a credit note for part or all of the invoice, spread over its lines by largest remainder."
    )
    statuses = (Status.OPEN, Status.PAID, Status.UNCOLLECTIBLE)

    reason = forms.CharField(widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))

    def pull(self, *, now: datetime) -> str:
        note = issue_credit_note(
            invoice=self.row, amount_minor=self.amount_minor(), reason=self.cleaned_data["reason"], now=now
        )
        return f"Credit note {note.number} gives back {format_money(note.net_minor, self.row.currency)}."


class Verify(InvoiceLever):
    """Compute the invoice again from raw events."""

    name, title, icon = "verify", "Verify", "fact_check"
    permission = "billing.view_invoice"
    is_rare = True
    explanation = (
        "Computes the invoice again from its raw usage events and compares every line. Nothing changes."
    )
    statuses = (Status.OPEN, Status.PAID, Status.VOID, Status.UNCOLLECTIBLE)

    def pull(self, *, now: datetime) -> str | ShowOnce:
        del now
        differences = verify_invoice(invoice=self.row)
        if not differences:
            return f"Invoice {self.row} agrees with its events, to the cent."
        return ShowOnce("admin/billing/differences.html", {"differences": differences})


class PushToStripe(InvoiceLever):
    """Let Stripe collect."""

    name, title, icon = "push", "Push to Stripe", "cloud_upload"
    is_rare = True
    explanation = (
        "Brings the invoice to Stripe, which collects it once its total is ours. A mismatch is parked."
    )
    statuses = (Status.OPEN,)

    @classmethod
    def applies(cls, row: Invoice) -> bool:
        pushed = StripeInvoice.objects.filter(invoice=row, state=StripeInvoice.State.PUSHED)
        return bool(settings.STRIPE_API_KEY) and super().applies(row) and not pushed.exists()

    def pull(self, *, now: datetime) -> str:
        pushed = push_invoice(invoice=self.row, now=now)
        if pushed.state == StripeInvoice.State.PARKED:
            raise StripeRefused(f"The invoice is parked: {pushed.problem}")
        return f"Stripe has it as {pushed.stripe_id}."


LEVERS = [
    RefreshDraft,
    Finalise,
    RecordPayment,
    IssueCreditNote,
    PushToStripe,
    Verify,
    MarkUncollectible,
    Void,
]
