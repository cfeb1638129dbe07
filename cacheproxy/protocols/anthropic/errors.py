"""The error body that Anthropic's clients read: `{"type": "error", "error": {type, message, details}}`.

Our code stands where their `error_code` is read, `details.error_code`, and the field at fault beside it. The
clients retry 408, 409, 429 and every 5xx unless `x-should-retry` says otherwise, so an overload is a 503 like
everywhere else here, not Anthropic's own 529.
"""

from cacheproxy.protocols import document

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def anthropic_error(*, status: int, code: str, message: str, param: str | None) -> bytes:
    """Return the body of an error answer; `type` follows from the HTTP status."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    details = {"error_code": code, "param": param}
    return document.write({"type": "error", "error": {"type": kind, "message": message, "details": details}})
