"""API keys for Django REST framework: who calls, and whether the key's scope allows it."""

from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from tenants.errors import KeyRefused
from tenants.models import ApiKey
from tenants.selectors import authenticate_key
from tenants.services import note_key_use


class ApiKeyAuthentication(BaseAuthentication):
    """Takes ``Authorization: Bearer zr_live_…`` or ``x-api-key`` and asks for the scope that the view names.

    ``request.auth`` becomes the key; there is no user behind one.
    """

    def authenticate(self, request: Request) -> tuple[None, ApiKey]:
        """Return the key of the request and note its use.

        Raises:
            KeyRefused: there is no key, or no usable one.
            ScopeMissing: the key may not do this.
        """
        now = timezone.now()
        scope = request.parser_context["view"].scope
        api_key = authenticate_key(text=_key_of(request), scope=scope, now=now)
        note_key_use(api_key=api_key, now=now)
        return None, api_key


class ApiKeySchemes(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells drf-spectacular the two headers that carry a key."""

    target_class = ApiKeyAuthentication
    name = ["bearer", "x-api-key"]

    def get_security_requirement(self, _auto_schema: Any) -> list[dict[str, list[Any]]]:
        """Return that either header will do."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, _auto_schema: Any) -> list[dict[str, str]]:
        """Return the two schemes, in the order of their names."""
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "zr_live_…"},
            {"type": "apiKey", "in": "header", "name": "x-api-key"},
        ]


def _key_of(request: Request) -> str:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    key: str | None = request.headers.get("x-api-key")
    if key is None:
        raise KeyRefused("No API key came with the request: send “Authorization: Bearer zr_live_…”.")
    return key.strip()
