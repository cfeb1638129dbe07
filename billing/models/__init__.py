"""The rows of billing, a file per noun."""

from billing.models.budgets import Budget, BudgetAlert
from billing.models.catalog import HitDiscount, Plan, Price, PricedPool
from billing.models.credits import CreditNote, CreditNoteLine
from billing.models.invoices import Invoice, InvoiceCounter, InvoiceLine, Payment
from billing.models.stripe import StripeCustomer, StripeInvoice, StripeWebhook
from billing.models.subscriptions import Subscription
from billing.models.wrong_hits import WrongHitCredit

__all__ = [
    "Budget",
    "BudgetAlert",
    "CreditNote",
    "CreditNoteLine",
    "HitDiscount",
    "Invoice",
    "InvoiceCounter",
    "InvoiceLine",
    "Payment",
    "Plan",
    "Price",
    "PricedPool",
    "StripeCustomer",
    "StripeInvoice",
    "StripeWebhook",
    "Subscription",
    "WrongHitCredit",
]
