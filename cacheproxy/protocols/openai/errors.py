"""The error body that OpenAI's clients read: `{"error": {message, type, param, code}}`."""

from cacheproxy.protocols import document

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def openai_error(*, status: int, code: str, message: str, param: str | None) -> bytes:
    """Return the body of an error answer; `type` follows from the HTTP status."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return document.write({"error": {"message": message, "type": kind, "param": param, "code": code}})
