"""The operator's pages for plans, subscriptions, budgets, invoices and savings."""

from billing.admin import catalog, invoices, limits, records, tenants, wrong_hits

__all__ = ["catalog", "invoices", "limits", "records", "tenants", "wrong_hits"]
