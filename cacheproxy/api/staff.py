"""Staff who are signed in to the admin, at the API, beside tenants with their keys."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request

from tenants.api.authentication import ApiKeyAuthentication
from tenants.api.views import TenantView
from tenants.errors import UnknownTenant
from tenants.models import ApiKey, Tenant, User
from tenants.selectors import tenant_by_slug

KEY_HEADERS = {"Authorization", "X-Api-Key"}


class StaffSession(SessionAuthentication):
    """Lets staff in who have the permissions that the view's ``staff_permissions`` names for the method.

    Everybody else needs a key.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        """Return who is signed in, if they may do this and came without a key."""
        if request.headers.keys() & KEY_HEADERS:
            return None
        found = super().authenticate(request)
        user = found[0] if found else None
        needed = request.parser_context["view"].staff_permissions.get(request.method)
        if not (isinstance(user, User) and user.is_staff and needed and user.has_perms(needed)):
            return None
        return user, None


class StaffSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells drf-spectacular of the admin's cookie."""

    target_class = StaffSession
    name = "staff"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        """Return the scheme."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class TenantOrStaffView(TenantView):
    """Answers a tenant about itself, and staff about any tenant or all."""

    authentication_classes = [StaffSession, ApiKeyAuthentication]
    staff_permissions: ClassVar[Mapping[str, Sequence[str]]] = {}

    def named_tenant(self, slug: str | None) -> Tenant | None:
        """Return who is meant; None for everybody.

        Raises:
            UnknownTenant: there is no such tenant, or a tenant names another.
        """
        if isinstance(self.request.auth, ApiKey):
            if slug not in {None, self.tenant.slug}:
                raise UnknownTenant(f"There is no tenant {slug!r}.")
            return self.tenant
        return tenant_by_slug(slug) if slug else None
