"""Errors of the API as problem documents (RFC 9457, ``application/problem+json``).

Every problem has ``type``, ``title``, ``status``, ``detail`` and a stable ``code``; where parameters are
wrong ``errors`` names each of them. Nothing of the inside (traces, queries) is ever in one.
"""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from billing.errors import BillingError
from cacheproxy.errors import CacheError
from metering.errors import MeteringError
from tenants.errors import TenantError

CONTENT_TYPE = "application/problem+json"
DOMAIN_ERRORS = (TenantError, MeteringError, BillingError, CacheError)
API = "/api/"
_CODES = {400: "malformed_request", 404: "not_found", 405: "method_not_allowed"}


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an API view's error with its problem; None for a defect, which is Django's to log and answer."""
    if isinstance(error, DOMAIN_ERRORS):
        body = problem(status=error.status, code=error.code, detail=str(error))
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        return Response(body, error.status, headers=headers, content_type=CONTENT_TYPE)
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, exceptions.ValidationError):
        response.data = _invalid_parameters(error)
    else:
        code = _CODES.get(response.status_code, "request_refused")
        response.data = problem(status=response.status_code, code=code, detail=_detail(response))
    response.content_type = CONTENT_TYPE
    return response


def problem(*, status: int, code: str, detail: str) -> dict[str, Any]:
    """Return the problem document of an error."""
    return {
        "type": f"urn:zerorate:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what is no request at all, as one of a host unknown here: with a problem, elsewhere with Django's page."""
    if not request.path.startswith(API):
        return defaults.bad_request(request, exception)
    return _plain(
        400, "malformed_request", "The request cannot be read, or its Host is not one of this server's."
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a path that does not exist: under the API with a problem, elsewhere with Django's page."""
    if not request.path.startswith(API):
        return defaults.page_not_found(request, exception)
    return _plain(404, "not_found", f"There is nothing at {request.path}. See /api/v1/docs.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a defect: under the API with a problem that tells nothing, elsewhere with Django's page."""
    if not request.path.startswith(API):
        return defaults.server_error(request)
    return _plain(500, "internal_error", "Something went wrong here; it has been logged. Try again later.")


def document_problems(result: dict[str, Any], **_generator: Any) -> dict[str, Any]:
    """Add the problem document to every operation of the OpenAPI schema, as drf-spectacular's hook."""
    result["components"].setdefault("schemas", {})["Problem"] = _SCHEMA
    reference = {"$ref": "#/components/schemas/Problem"}
    answer = {"description": "A problem (RFC 9457).", "content": {CONTENT_TYPE: {"schema": reference}}}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = answer
    return result


def _invalid_parameters(error: exceptions.ValidationError) -> dict[str, Any]:
    details: Any = error.get_full_details()
    wrong = [
        {"parameter": name, "code": reason["code"], "detail": reason["message"]}
        for name, reasons in details.items()
        for reason in reasons
    ]
    detail = " ".join(f"{each['parameter']}: {each['detail']}" for each in wrong)
    return problem(status=400, code="invalid_parameter", detail=detail) | {"errors": wrong}


def _detail(response: Response) -> str:
    assert isinstance(response.data, dict), "DRF's handler gives lists to validation errors only"
    return str(response.data["detail"])


def _plain(status: int, code: str, detail: str) -> JsonResponse:
    body = problem(status=status, code=code, detail=detail)
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE)


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do about it."},
        "code": {"type": "string", "description": "Stable, for programs."},
        "errors": {
            "type": "array",
            "description": "The parameters that are wrong.",
            "items": {
                "type": "object",
                "required": ["parameter", "code", "detail"],
                "properties": {
                    "parameter": {"type": "string"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
