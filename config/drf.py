"""Django REST framework and its OpenAPI schema."""

from typing import Any

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "UNAUTHENTICATED_USER": None,
    "EXCEPTION_HANDLER": "config.problem.handle",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Zerorate API",
    "DESCRIPTION": "Usage, invoices and cache of a tenant, with an API key of the right scope.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "InvoiceStatus": "billing.models.Invoice.Status",
        "InvoiceLineKind": "billing.models.InvoiceLine.Kind",
        "Pool": "billing.models.PricedPool",
        "Outcome": "metering.models.Outcome",
        "Quality": "metering.models.Quality",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.problem.document_problems",
    ],
    # The assets of the docs page come from the package drf-spectacular-sidecar, never from another host.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
