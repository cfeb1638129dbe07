"""Questions about tenants and keys."""

from datetime import datetime

from django.conf import settings

from tenants import keys
from tenants.errors import KeyRefused, ScopeMissing, UnknownTenant
from tenants.models import ApiKey, Tenant


def tenant_by_slug(slug: str) -> Tenant:
    """Return the tenant named *slug*.

    Raises:
        UnknownTenant: there is none; the message lists those that look alike.
    """
    try:
        return Tenant.objects.get(slug=slug)
    except Tenant.DoesNotExist:
        alike = list(Tenant.objects.filter(slug__istartswith=slug[:2]).values_list("slug", flat=True)[:5])
        hint = f" Did you mean {', '.join(alike)}?" if alike else ""
        raise UnknownTenant(f"There is no tenant {slug!r}.{hint}") from None


def authenticate_key(*, text: str, scope: str, now: datetime) -> ApiKey:
    """Return the key whose whole text is *text*, if it is usable and has *scope*.

    Raises:
        KeyRefused: it is malformed (found without a look-up), unknown, revoked or expired.
        ScopeMissing: it may not do this.
    """
    if not keys.is_well_formed(text):
        raise KeyRefused("This is no API key: a character is missing or mistyped. Keys begin with zr_live_.")
    digest = keys.digest(text, settings.KEY_PEPPER)
    api_key = ApiKey.objects.usable(now).select_related("tenant").filter(digest=digest).first()
    if api_key is None:
        raise KeyRefused("This API key is unknown, revoked or expired. Ask for a new one.")
    if scope not in api_key.scopes:
        raise ScopeMissing(f"This API key lacks the scope “{scope}”. Issue one that has it.")
    return api_key
