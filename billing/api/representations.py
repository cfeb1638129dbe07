"""How money, invoices and their lines look as JSON.

Settled money is a decimal as text, the same in minor units, and the currency. Prices and accrued, exact money are
decimals as text; counts are integers; instants are UTC.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from billing.models import Invoice, InvoiceLine, WrongHitCredit
from billing.money import format_decimal, to_decimal
from billing.selectors.invoices import credited_minor, owed_minor, paid_minor


class Money(serializers.Serializer[Any]):
    """Settled money: 1235 minor units of USD are 12.35."""

    amount = serializers.CharField(help_text="A decimal in the currency's major unit.")
    amount_minor = serializers.IntegerField(help_text="The same in minor units, as cents.")
    currency = serializers.CharField(min_length=3, max_length=3, help_text="ISO 4217.")


def money(minor: int, currency: str) -> dict[str, Any]:
    """Return settled money as JSON."""
    return {"amount": f"{to_decimal(minor, currency):f}", "amount_minor": minor, "currency": currency}


@extend_schema_field(Money)
class MoneyField(serializers.Field[Any, Any, Any, Any]):
    """Minor units that stand in a column of an invoice or its line, or that are worked out from an invoice."""

    def __init__(self, minor_of: str | Callable[..., int]) -> None:
        super().__init__(read_only=True, source="*")
        self.minor_of = minor_of

    def to_representation(self, value: Invoice | InvoiceLine) -> dict[str, Any]:
        """Return the money with its invoice's currency."""
        invoice = value.invoice if isinstance(value, InvoiceLine) else value
        read = self.minor_of
        minor = getattr(value, read) if isinstance(read, str) else read(invoice=invoice)
        return money(minor, invoice.currency)


@extend_schema_field(serializers.CharField())
class ExactField(serializers.Field[Decimal, Any, str, Any]):
    """A decimal as text, every digit of it and no more."""

    def to_representation(self, value: Decimal) -> str:
        """Return the digits."""
        return format_decimal(value)


@extend_schema_serializer(component_name="InvoiceLine")
class InvoiceLineRepresentation(serializers.ModelSerializer[InvoiceLine]):
    """A line: one model, pool and outcome at one price."""

    unit_amount = ExactField(
        read_only=True, allow_null=True, help_text="The list price of `per` tokens or units."
    )
    discount_percent = ExactField(read_only=True, help_text="The hit discount, in percent of the list price.")
    list_accrued = ExactField(read_only=True, help_text="The list price, not rounded.")
    charged_accrued = ExactField(read_only=True, source="net_accrued", help_text="The charge, not rounded.")
    list = MoneyField("list_minor")
    saved = MoneyField("discount_minor")
    charged = MoneyField("net_minor")

    class Meta:
        model = InvoiceLine
        fields = [
            "position",
            "kind",
            "original_period_start",
            "model",
            "pool",
            "outcome",
            "quality",
            "reason",
            "calls",
            "quantity",
            "unit_amount",
            "per",
            "discount_percent",
            "list_accrued",
            "charged_accrued",
            "list",
            "saved",
            "charged",
        ]
        read_only_fields = fields


class InvoiceSummary(serializers.ModelSerializer[Invoice]):
    """An invoice without its lines. The period ends before `period_end`."""

    list = MoneyField("list_minor")
    saved = MoneyField("discount_minor")
    charged = MoneyField("net_minor")

    class Meta:
        model = Invoice
        fields = [
            "number",
            "status",
            "period_start",
            "period_end",
            "currency",
            "list",
            "saved",
            "charged",
            "finalised_at",
            "due_at",
            "paid_at",
            "voided_at",
        ]
        read_only_fields = fields


@extend_schema_serializer(component_name="CreditedWrongHit")
class CreditedWrongHit(serializers.ModelSerializer[WrongHitCredit]):
    """A hit that proved wrong, and whose charge this invoice gives back on its lines of kind `wrong_hit`."""

    event_id = serializers.UUIDField(source="wrong_hit.event_id", help_text="The hit's usage event.")
    occurred_at = serializers.DateTimeField(source="wrong_hit.occurred_at")
    model = serializers.CharField(source="wrong_hit.model")
    source_event = serializers.UUIDField(
        source="wrong_hit.source_event", help_text="The miss that had paid for the answer."
    )
    reason = serializers.CharField(source="wrong_hit.reason")
    detected_at = serializers.DateTimeField(source="wrong_hit.detected_at")
    charged_accrued = ExactField(read_only=True, help_text="What the hit was charged, not rounded.")

    class Meta:
        model = WrongHitCredit
        fields = [
            "event_id",
            "occurred_at",
            "model",
            "source_event",
            "reason",
            "detected_at",
            "charged_accrued",
        ]
        read_only_fields = fields


class InvoiceDetail(InvoiceSummary):
    """An invoice with its lines, and what of it is still due."""

    credited = MoneyField(credited_minor)
    paid = MoneyField(paid_minor)
    due = MoneyField(owed_minor)
    lines = InvoiceLineRepresentation(many=True, read_only=True)
    wrong_hits = CreditedWrongHit(
        many=True, read_only=True, source="wrong_hit_credits", help_text="Hits whose charge it gives back."
    )

    class Meta(InvoiceSummary.Meta):
        fields = [*InvoiceSummary.Meta.fields, "credited", "paid", "due", "lines", "wrong_hits"]
        read_only_fields = fields
