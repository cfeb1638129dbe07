from django.apps import AppConfig


class BillingConfig(AppConfig):
    """What it costs: price book, subscriptions, invoices and payments."""

    name = "billing"
