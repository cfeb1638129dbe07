"""Refusals in Stripe's shape: `{"error": {"type", "code", "param", "message"}}` with an HTTP status."""

from typing import Any


class RefusedError(Exception):
    """An error answer; `executed` says whether the endpoint had begun, and so whether its key is spent."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        executed: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        fields = {"type": kind, "code": code, "param": param, "message": message}
        self.body: dict[str, Any] = {
            "error": {name: value for name, value in fields.items() if value is not None}
        }


def malformed(message: str, *, code: str, param: str) -> RefusedError:
    """Return the refusal of a request whose parameters fail validation: no key is spent on it."""
    return RefusedError(message, code=code, param=param, executed=False)


def missing(kind: str, identifier: str, *, param: str) -> RefusedError:
    """Return the refusal that names an object which does not exist."""
    status = 404 if param == "id" else 400
    return RefusedError(
        f"No such {kind}: '{identifier}'", status=status, code="resource_missing", param=param
    )
