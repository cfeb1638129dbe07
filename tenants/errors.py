"""What can go wrong with tenants.

TenantError
├── UnknownTenant        404  unknown_tenant
├── UnknownScope         400  unknown_scope
├── UnfitLimit           400  unfit_limit
├── KeyNotUsable         409  key_not_usable
└── KeyRefused           401  invalid_api_key
    └── ScopeMissing     403  scope_missing
"""


class TenantError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "tenant_error"
    status = 400


class UnknownTenant(TenantError):
    """No tenant has that slug."""

    code = "unknown_tenant"
    status = 404


class UnknownScope(TenantError):
    """A scope that does not exist was asked for."""

    code = "unknown_scope"


class UnfitLimit(TenantError):
    """A limit is no whole number above zero, or a network is none."""

    code = "unfit_limit"


class KeyNotUsable(TenantError):
    """The key is revoked or has expired, so it cannot be rotated."""

    code = "key_not_usable"
    status = 409


class KeyRefused(TenantError):
    """The key is missing, malformed, unknown, revoked or expired."""

    code = "invalid_api_key"
    status = 401


class ScopeMissing(KeyRefused):
    """The key is good but may not do this."""

    code = "scope_missing"
    status = 403
