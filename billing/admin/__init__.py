"""The operator's pages for plans, subscriptions, invoices and savings."""

from billing.admin import catalog, invoices, records, tenants

__all__ = ["catalog", "invoices", "records", "tenants"]
