"""What the gateway refuses, and how it says so.

::

    GatewayError                      status  code
    ├── BadRequest                    400     invalid_json, missing_field, invalid_field …
    │   └── MaxTokensExceeded                 max_tokens_exceeded
    ├── Unauthenticated               401
    │   ├── MissingKey                        missing_api_key
    │   ├── MalformedKey                      malformed_api_key
    │   ├── UnknownKey                        invalid_api_key
    │   ├── ExpiredKey                        expired_api_key
    │   └── RevokedKey                        revoked_api_key
    ├── BudgetExceeded                402     budget_exceeded
    ├── Forbidden                     403
    │   ├── WrongScope                        insufficient_scope
    │   ├── TenantSuspended                   tenant_suspended
    │   ├── NoPlan                            no_plan
    │   ├── ModelNotInPlan                    model_not_in_plan
    │   ├── ModelNotAllowed                   model_not_allowed
    │   └── NetworkNotAllowed                 network_not_allowed
    ├── NotFound                      404
    │   ├── ModelNotFound                     model_not_found
    │   └── UnknownPath                       unknown_path
    ├── MethodNotAllowed              405     method_not_allowed
    ├── Conflict                      409
    │   ├── EventConflict                     event_conflict
    │   ├── IdempotencyKeyReused              idempotency_key_reused
    │   ├── IdempotencyKeyInUse               idempotency_key_in_use
    │   └── IdempotentAnswerNotKept           idempotent_answer_not_kept
    ├── BodyTooLarge                  413     request_too_large
    ├── EncodedBody                   415     unsupported_encoding
    ├── NobodyWaits                   499     client_gone
    ├── RateLimited                   429     rate_limit_exceeded
    │   └── TooManyConcurrent                 rate_limit_exceeded
    ├── InternalError                 500     internal_error
    ├── UpstreamError                 502     in `upstreams/errors.py`
    ├── Unavailable                   503
    │   ├── NotReady                          gateway_starting
    │   ├── Overloaded                        gateway_overloaded
    │   ├── IdempotencyUnavailable            idempotency_unavailable
    │   └── RecorderUnavailable               recorder_unavailable
    └── NotCached                     504     not_cached

Those of limits and budgets stand in `limits/errors.py`.

Every answer to a refused call has the shape of the protocol that was spoken. ``retryable`` is False where
sending the same call again cannot help; OpenAI's clients read that from ``x-should-retry: false``.
"""

from collections.abc import Sequence
from typing import ClassVar


class GatewayError(Exception):
    """A call that ends in an error of our own: its HTTP status, stable code and a message with the remedy."""

    status: ClassVar[int] = 500
    code: str = "internal_error"
    retryable: bool = False
    retry_after_seconds: int | None = None
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Beside those that every refusal has."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadRequest(GatewayError):
    """The body is not a request of this protocol."""

    status = 400

    def __init__(self, message: str, *, code: str = "invalid_request", param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.code = code


class Unauthenticated(GatewayError):
    """Nobody we know is calling."""

    status = 401


class MissingKey(Unauthenticated):
    """No key was sent."""

    code = "missing_api_key"

    def __init__(self) -> None:
        super().__init__(
            "No API key was sent. Send it as 'Authorization: Bearer zr_live_…' or as 'x-api-key'."
        )


class MalformedKey(Unauthenticated):
    """What was sent fails a key's form or checksum."""

    code = "malformed_api_key"

    def __init__(self) -> None:
        super().__init__(
            "This is not a whole API key: its checksum does not match. Copy the key again, all 58 characters."
        )


class UnknownKey(Unauthenticated):
    """A well-formed key that was never issued here."""

    code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__(
            "This API key is not known here. Check that it belongs to this service, or create a new one."
        )


class ExpiredKey(Unauthenticated):
    """A key past its expiry."""

    code = "expired_api_key"

    def __init__(self) -> None:
        super().__init__("This API key has expired. Create a new one, or ask an administrator to.")


class RevokedKey(Unauthenticated):
    """A key that was taken back."""

    code = "revoked_api_key"

    def __init__(self) -> None:
        super().__init__("This API key was revoked. Use its successor, or create a new one.")


class Forbidden(GatewayError):
    """We know who is calling; they may not do this."""

    status = 403


class WrongScope(Forbidden):
    """The key lacks the scope ``inference``."""

    code = "insufficient_scope"

    def __init__(self) -> None:
        super().__init__("This API key does not have the scope 'inference'. Use a key that does.")


class TenantSuspended(Forbidden):
    """The tenant is suspended."""

    code = "tenant_suspended"

    def __init__(self) -> None:
        super().__init__("This customer account is suspended. Contact the operator of this service.")


class NoPlan(Forbidden):
    """The tenant has no subscription in force."""

    code = "no_plan"

    def __init__(self) -> None:
        super().__init__("This customer account has no plan in force. Contact the operator of this service.")


class ModelNotInPlan(Forbidden):
    """The tenant's plan has no price for the model."""

    code = "model_not_in_plan"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"Your plan does not include the model '{model}'. GET /v1/models lists those it does.",
            param="model",
        )


class ModelNotAllowed(Forbidden):
    """The key is bound to other models."""

    code = "model_not_allowed"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"This API key may not use the model '{model}'. GET /v1/models lists those it may.", param="model"
        )


class NetworkNotAllowed(Forbidden):
    """The key is bound to other networks."""

    code = "network_not_allowed"

    def __init__(self) -> None:
        super().__init__("This API key may not be used from this address. Use it from its own networks.")


class NotFound(GatewayError):
    """There is no such thing."""

    status = 404


class ModelNotFound(NotFound):
    """No enabled model has this name."""

    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model '{model}' does not exist here. GET /v1/models lists those you can use.", param="model"
        )


class UnknownPath(NotFound):
    """No surface lives at this path."""

    code = "unknown_path"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"There is nothing at {path}. Check the base URL: it ends in /v1 for OpenAI's clients."
        )


class MethodNotAllowed(GatewayError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not possible here. Use {allowed}.")
        self.allowed = allowed


class Conflict(GatewayError):
    """What is asked contradicts what was asked before."""

    status = 409


class EventConflict(Conflict):
    """An event of the same id but other content is already recorded."""

    code = "event_conflict"

    def __init__(self) -> None:
        super().__init__(
            "Another call was already recorded under this id. Send the call again under a new one."
        )


class IdempotencyKeyReused(Conflict):
    """The key was used for something else."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used with another request. Send this request under a new key."
        )


class IdempotencyKeyInUse(Conflict):
    """The first call under the key has no answer yet."""

    code = "idempotency_key_in_use"
    retryable = True
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__(
            "A call with this Idempotency-Key is still under way. Try again in a moment, under the same key."
        )


class IdempotentAnswerNotKept(Conflict):
    """The first answer under the key was too large to be given again, or cannot be read any more."""

    code = "idempotent_answer_not_kept"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            "The call with this Idempotency-Key was carried out, once, but its answer is not kept: it was larger than"
            f" {limit_bytes} bytes, or cannot be read any more. A new key has it carried out again."
        )


class EncodedBody(GatewayError):
    """The request body is compressed, and nobody here unpacks what a stranger packed."""

    status = 415
    code = "unsupported_encoding"

    def __init__(self) -> None:
        super().__init__("Compressed request bodies are not taken. Send it without 'Content-Encoding'.")


class BodyTooLarge(GatewayError):
    """The request body is over the limit."""

    status = 413
    code = "request_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The request body is larger than {limit_bytes} bytes, the limit here. Send less in one call."
        )


class NobodyWaits(GatewayError):
    """Every client that asked hung up before the upstream was asked: nobody is told, but metrics."""

    status = 499
    code = "client_gone"

    def __init__(self) -> None:
        super().__init__("The client hung up before its call's turn came.")


class InternalError(GatewayError):
    """Our own fault; the log has the rest under the request id."""

    retryable = True

    def __init__(self) -> None:
        super().__init__(
            "Something went wrong on our side. Try again; if it persists, report the x-request-id."
        )


class Unavailable(GatewayError):
    """Not now."""

    status = 503
    retryable = True
    retry_after_seconds = 1


class NotReady(Unavailable):
    """PostgreSQL has not been reached yet, so nobody can be authenticated."""

    code = "gateway_starting"

    def __init__(self) -> None:
        super().__init__("The gateway cannot check API keys at the moment. Try again in a few seconds.")


class Overloaded(Unavailable):
    """As many upstream calls are under way, to all upstreams or to the model's, as the settings allow."""

    code = "gateway_overloaded"

    def __init__(self) -> None:
        super().__init__("Too many calls are under way. Try again in a few seconds.")


class IdempotencyUnavailable(Unavailable):
    """Redis cannot say whether the call was made before, and that is what was asked for."""

    code = "idempotency_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "Idempotency-Key cannot be honoured at the moment. Try again in a few seconds, or leave it out."
        )


class RecorderUnavailable(Unavailable):
    """Neither PostgreSQL nor the spool can keep the usage event, so the answer is withheld."""

    code = "recorder_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The call could not be recorded, so its answer was withheld. Try again in a few seconds."
        )


class NotCached(GatewayError):
    """``only-if-cached`` was asked for, and there is no answer in the cache."""

    status = 504
    code = "not_cached"

    def __init__(self) -> None:
        super().__init__(
            "There is no stored answer to this request. Send it without 'Cache-Control: only-if-cached'."
        )
