"""What the surfaces of the `openai` protocol share: fields that are read alike, and what a usage looks like."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.metering_rule import apply_rules
from cacheproxy.protocols.openai.errors import openai_error
from cacheproxy.protocols.request import Answer, InferenceRequest, InvalidRequest, JsonDialect
from cacheproxy.protocols.sse import frame
from metering import provider_usage
from metering.provider_usage import UsageMismatch, UsageReport

OUT_OF_KEY = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""Fields that never decide an answer; the model does, but the key has it under the customers' name."""

CLIENT_TOOLS = ("function", "custom")
"""Tools that the client runs; any other runs on the server, and may search."""

_FIGURES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")


class OpenAIDialect(JsonDialect):
    """What OpenAI's JSON surfaces share. Requests and answers pass with every field, known or not.

    Usage comes in the shape of whichever provider answers (see `metering.provider_usage.report`). Servers that
    report 0 tokens for everything, as LitServe does by default, have reported nothing: a call without tokens
    does not exist.
    """

    protocol = "openai"
    identity = ("id", "created")
    echoed: tuple[str, ...] = ()
    """Fields out of the key that an answer repeats all the same: what stands there is its caller's own."""

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return the sorted JSON of the fields that decide but the volatile ones, and the names of echoed ones.

        So whoever has nothing echoed never finds an answer that echoes another's words, and can be given
        answers as they are kept.
        """
        deciding = document.without(self.deciding(request), volatile_fields)
        return document.canonical(deciding if request.stamp is None else [deciding, sorted(request.stamp)])

    def deciding(self, request: InferenceRequest) -> dict[str, Any]:
        """Return all fields that may decide the answer."""
        return {field: value for field, value in request.document.items() if field not in OUT_OF_KEY}

    def stamp_of(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what the answer will repeat of a request, or None."""
        return {name: fields[name] for name in self.echoed if fields.get(name)} or None

    def give(self, request: InferenceRequest, answer: Answer) -> Answer:
        """Return the answer with the request's own words in it, as a stream where it asks for one."""
        if request.stamp is not None:
            said = document.read(answer.body)
            stamp = {name: value for name, value in request.stamp.items() if name in said}
            answer = answer._replace(body=document.write({**said, **stamp}))
        return super().give(request, answer)

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule says, else what the provider reports in whatever shape is its own."""
        if metering:
            return apply_rules(metering, request=request.document, answer=answer, body_size=body_size)
        usage = reported(answer)
        return None if usage is None else self.read_usage(usage)

    def read_usage(self, usage: Mapping[str, Any]) -> UsageReport:
        """Return the usage that the object of this name states."""
        return provider_usage.report(usage)

    def error(self, *, status: int, code: str, message: str, param: str | None) -> bytes:
        """Return OpenAI's error body."""
        return openai_error(status=status, code=code, message=message, param=param)

    def stream_error(self, *, status: int, code: str, message: str) -> bytes:
        """Return the error as an event, which OpenAI's clients raise."""
        return frame(self.error(status=status, code=code, message=message, param=None))


def reported(answer: Any) -> Mapping[str, Any] | None:
    """Return the answer's `usage`, or None where it has none, or one without a figure.

    Raises:
        UsageMismatch: it is no object.
    """
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if usage is None:
        return None
    if not isinstance(usage, dict):
        raise UsageMismatch(f"usage is {usage!r:.40}, not an object")
    return usage if any(usage.get(figure) for figure in _FIGURES) else None


def finish_reasons(answer: Any) -> Collection[str]:
    """Return why each choice of an answer ended; "" where that is not said."""
    return {str(choice.get("finish_reason") or "") for choice in answer["choices"]}


def read_object(body: bytes) -> dict[str, Any]:
    """Return the body's JSON object.

    Raises:
        InvalidRequest: it is something else.
    """
    fields = document.read(body)
    if not isinstance(fields, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return fields


def checked(fields: Mapping[str, Any], name: str, kind: type | tuple[type, ...], wanted: str) -> Any:
    """Return a field that must be there, of its kind and not empty.

    Raises:
        InvalidRequest: it is not.
    """
    value = fields.get(name)
    if value is None:
        raise InvalidRequest(f"{name} is required.", code="missing_field", param=name)
    if not isinstance(value, kind) or not value:
        raise InvalidRequest(f"{name} must be {wanted}.", code="invalid_field", param=name)
    return value


def model_of(fields: Mapping[str, Any]) -> str:
    """Return the model that the body names.

    Raises:
        InvalidRequest: it names none.
    """
    name: str = checked(fields, "model", str, "a non-empty string")
    return name


def flag(fields: Mapping[str, Any], name: str, param: str) -> bool:
    """Return a field that is true, false or absent; errors call it `param`.

    Raises:
        InvalidRequest: it is something else.
    """
    value = fields.get(name)
    if not isinstance(value, bool | None):
        raise InvalidRequest(f"{param} must be true or false.", code="invalid_field", param=param)
    return bool(value)


def streaming(fields: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether a stream is asked for, and whether a usage chunk is.

    Raises:
        InvalidRequest: `stream` or `stream_options` is malformed.
    """
    options = fields.get("stream_options") or {}
    if not isinstance(options, dict):
        raise InvalidRequest(
            "stream_options must be an object.", code="invalid_field", param="stream_options"
        )
    wants_usage = flag(options, "include_usage", "stream_options.include_usage")
    return flag(fields, "stream", "stream"), wants_usage


def asking_for_usage(request: InferenceRequest, upstream_model: str) -> dict[str, Any]:
    """Return the body under the upstream's name of the model; a stream is asked for its usage chunk."""
    fields = {**request.document, "model": upstream_model}
    if request.stream and not request.wants_usage:
        fields["stream_options"] = {**(fields.get("stream_options") or {}), "include_usage": True}
    return fields


def objects(items: Any) -> list[dict[str, Any]]:
    """Return the objects of what should be a list of them; whatever else stands there counts as empty."""
    return [item if isinstance(item, dict) else {} for item in items] if isinstance(items, list) else []
