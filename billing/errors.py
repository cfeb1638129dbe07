"""What can go wrong with billing.

BillingError
├── PriceInForce         409  price_in_force
└── CurrencyMismatch     409  currency_mismatch
"""


class BillingError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "billing_error"
    status = 400


class PriceInForce(BillingError):
    """A change to the price book would rewrite what usage was rated with."""

    code = "price_in_force"
    status = 409


class CurrencyMismatch(BillingError):
    """A tenant is billed in one currency for good."""

    code = "currency_mismatch"
    status = 409
