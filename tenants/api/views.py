"""What all views of the tenant-facing API share."""

from typing import Any, ClassVar

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from tenants.api.authentication import ApiKeyAuthentication
from tenants.models import ApiKey, Scope, Tenant


class OneRepresentation(BaseContentNegotiation):
    """Every path has one representation, whatever the client's Accept header says."""

    def select_parser(self, _request: Request, parsers: Any) -> Any:
        """Return the first parser."""
        return parsers[0]

    def select_renderer(
        self, _request: Request, renderers: Any, _format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the first renderer."""
        return renderers[0], renderers[0].media_type


class TenantView(APIView):
    """Answers the tenant whose key came with the request and has the view's scope; caches keep nothing of it."""

    scope: ClassVar[Scope]
    authentication_classes = [ApiKeyAuthentication]
    content_negotiation_class = OneRepresentation

    @property
    def tenant(self) -> Tenant:
        """Return the tenant that calls."""
        api_key = self.request.auth
        assert isinstance(api_key, ApiKey)
        return api_key.tenant

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Return headers that mark the answer as private: keys may travel where shared caches do not look."""
        return {**super().default_response_headers, "Cache-Control": "private, no-store"}
