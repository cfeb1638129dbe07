"""Which invoice gives back what a wrong hit was charged."""

from django.db import models

from billing.models.invoices import Invoice
from metering.models import WrongHit


class WrongHitCredit(models.Model):
    """A wrong hit on the invoice that credits it; the amounts are on lines of the kind ``wrong_hit``.

    Triggers (migration 0007) freeze it with its invoice and keep ``stands`` true while that is final and not
    void, and no wrong hit ever stands on two.
    """

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="wrong_hit_credits")
    wrong_hit = models.ForeignKey(WrongHit, on_delete=models.PROTECT, related_name="credits")
    charged_accrued = models.DecimalField(
        max_digits=60, decimal_places=30, help_text="What the hit was charged, not rounded."
    )
    stands = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ["invoice", "wrong_hit__occurred_at", "wrong_hit__event_id"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "wrong_hit"], name="wrong_hit_credit_once_on_invoice"),
            models.UniqueConstraint(
                fields=["wrong_hit"], condition=models.Q(stands=True), name="wrong_hit_credited_once"
            ),
            models.CheckConstraint(
                condition=models.Q(charged_accrued__gte=0), name="wrong_hit_credit_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.wrong_hit} on {self.invoice}"
