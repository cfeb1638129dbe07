"""Credit notes: what of a finalised invoice is given back, line by line."""

from django.db import models

from billing.models.invoices import Invoice, InvoiceLine


class CreditNote(models.Model):
    """Money given back on an invoice, allocated to its lines by largest remainder (law L6)."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="credit_notes")
    number = models.CharField(max_length=20, unique=True)
    reason = models.TextField()
    net_minor = models.BigIntegerField()
    issued_at = models.DateTimeField()

    class Meta:
        ordering = ["-issued_at"]
        constraints = [
            models.CheckConstraint(condition=models.Q(net_minor__gt=0), name="credit_note_positive"),
        ]

    def __str__(self) -> str:
        return self.number


class CreditNoteLine(models.Model):
    """What of one invoice line a credit note gives back."""

    credit_note = models.ForeignKey(CreditNote, on_delete=models.CASCADE, related_name="lines")
    invoice_line = models.ForeignKey(InvoiceLine, on_delete=models.PROTECT, related_name="credit_note_lines")
    net_minor = models.BigIntegerField()

    class Meta:
        ordering = ["credit_note", "invoice_line"]
        constraints = [
            models.UniqueConstraint(fields=["credit_note", "invoice_line"], name="credit_note_line_once"),
            models.CheckConstraint(condition=models.Q(net_minor__gt=0), name="credit_note_line_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.net_minor} of {self.invoice_line}"
