"""The `openai` protocol: chat completions, plain and streamed, and embeddings.

Requests and answers pass with every field, known or not; what this module reads, it names here. Usage comes
in the shape of whichever provider answers (see `metering.provider_usage.report`). Servers that report 0
tokens for everything, as LitServe does by default, have reported nothing: a call without tokens does not
exist.
"""

# ruff: noqa: ARG002 (an interface has parameters that not every dialect needs)

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.errors import openai_error
from cacheproxy.protocols.estimate import text_tokens
from cacheproxy.protocols.metering_rule import apply_rules
from cacheproxy.protocols.openai_assembly import FAILED_ENDINGS
from cacheproxy.protocols.openai_replay import replay
from cacheproxy.protocols.openai_stream import ChatStreamReader
from cacheproxy.protocols.request import Dialect, InferenceRequest, InvalidRequest, StreamReader, UpstreamCall
from metering import provider_usage
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools

CHAT = "chat.completions"
EMBEDDINGS = "embeddings"

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

_PATHS = {CHAT: "/chat/completions", EMBEDDINGS: "/embeddings"}
_STATEFUL = (
    "store",
    "background",
    "conversation",
    "previous_response_id",
    "web_search_options",
    "search_parameters",  # xAI's search
    "enable_search",  # Qwen's search
    "plugins",  # OpenRouter's search and file readers
)
_CLIENT_TOOLS = ("function", "custom")  # run by the client; any other runs on the server, and may search
_FIGURES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
_ANSWER_TEXTS = ("content", "refusal", "tool_calls", "function_call")


class OpenAIDialect:
    """OpenAI's wire format, as spoken by OpenAI and by most others."""

    name = "openai"

    def parse(self, surface: str, body: bytes, model: str | None) -> InferenceRequest:
        """Return a chat or embeddings request. The model is in the body."""
        fields = document.read(body)
        if not isinstance(fields, dict):
            raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
        name = _checked(fields, "model", str, "a non-empty string")
        if surface == EMBEDDINGS:
            _checked(fields, "input", (str, list), "a non-empty string or list")
            return InferenceRequest(surface, name, stream=False, wants_usage=False, document=fields)
        _checked(fields, "messages", list, "a non-empty list")
        stream = _flag(fields, "stream", "stream")
        options = fields.get("stream_options") or {}
        if not isinstance(options, dict):
            raise InvalidRequest(
                "stream_options must be an object.", code="invalid_field", param="stream_options"
            )
        wants_usage = _flag(options, "include_usage", "stream_options.include_usage")
        return InferenceRequest(surface, name, stream=stream, wants_usage=wants_usage, document=fields)

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return the sorted JSON of all fields but `OUT_OF_KEY` and the volatile ones."""
        deciding = {field: value for field, value in request.document.items() if field not in OUT_OF_KEY}
        return document.canonical(document.without(deciding, volatile_fields))

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model; a stream is asked for its usage."""
        fields = {**request.document, "model": upstream_model}
        if request.stream and not request.wants_usage:
            fields["stream_options"] = {**(fields.get("stream_options") or {}), "include_usage": True}
        return UpstreamCall(_PATHS[request.surface], document.write(fields))

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return whether no server-side state, search or tool is involved."""
        fields = request.document
        stateless = all(fields.get(field) in (None, False) for field in _STATEFUL)
        return stateless and all(tool.get("type") in _CLIENT_TOOLS for tool in _objects(fields.get("tools")))

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether every choice has ended well, or every input has its embedding."""
        if not isinstance(answer, dict) or answer.get("error"):
            return False
        if request.surface == EMBEDDINGS:
            vectors = [item.get("embedding") for item in _objects(answer.get("data"))]
            return all(vectors) and len(vectors) == len(_inputs(request))
        choices = _objects(answer.get("choices"))
        return bool(choices) and all(map(_has_ended_well, choices))

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule says, else what the provider reports in whatever shape is its own."""
        if metering:
            return apply_rules(metering, request=request.document, answer=answer, body_size=body_size)
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if usage is None:
            return None
        if not isinstance(usage, dict):
            raise UsageMismatch(f"usage is {usage!r:.40}, not an object")
        if not any(usage.get(figure) for figure in _FIGURES):
            return None
        if request.surface == EMBEDDINGS:
            return provider_usage.openai_embeddings(usage)
        return provider_usage.report(usage)

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the texts; token lists given to embeddings count exactly."""
        if request.surface == EMBEDDINGS:
            return UsageReport(TokenPools(input=sum(map(_input_tokens, _inputs(request)))))
        choices = _objects(answer.get("choices") if isinstance(answer, dict) else None)
        messages = _objects([choice.get("message") for choice in choices])
        reasoning = [message.get("reasoning_content") or message.get("reasoning") for message in messages]
        texts = [message.get(field) for message in messages for field in _ANSWER_TEXTS]
        given = text_tokens([request.document["messages"], request.document.get("tools")])
        pools = TokenPools(input=given, output=text_tokens([texts, reasoning]))
        return UsageReport(pools, output_reasoning=text_tokens(reasoning))

    def error(self, *, status: int, code: str, message: str, param: str | None) -> bytes:
        """Return OpenAI's error body."""
        return openai_error(status=status, code=code, message=message, param=param)

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader of a chat stream."""
        return ChatStreamReader(wants_usage=request.wants_usage)

    def replay(self, request: InferenceRequest, answer: bytes) -> Iterable[bytes]:
        """Return the stored answer as a chat stream."""
        return replay(document.read(answer), wants_usage=request.wants_usage)


def _checked(fields: dict[str, Any], name: str, kind: type | tuple[type, ...], wanted: str) -> Any:
    """Return a field that must be there, of its kind and not empty."""
    value = fields.get(name)
    if value is None:
        raise InvalidRequest(f"{name} is required.", code="missing_field", param=name)
    if not isinstance(value, kind) or not value:
        raise InvalidRequest(f"{name} must be {wanted}.", code="invalid_field", param=name)
    return value


def _flag(fields: dict[str, Any], name: str, param: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool | None):
        raise InvalidRequest(f"{param} must be true or false.", code="invalid_field", param=param)
    return bool(value)


def _objects(items: Any) -> list[dict[str, Any]]:
    """Return the objects of what should be a list of them; whatever else stands there counts as empty."""
    return [item if isinstance(item, dict) else {} for item in items] if isinstance(items, list) else []


def _has_ended_well(choice: dict[str, Any]) -> bool:
    return isinstance(choice.get("message"), dict) and choice.get("finish_reason") not in FAILED_ENDINGS


def _inputs(request: InferenceRequest) -> list[Any]:
    """Return what is to be embedded, one by one: texts, or lists of token numbers."""
    given = request.document["input"]
    return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


def _input_tokens(given: Any) -> int:
    return len(given) if isinstance(given, list) else text_tokens(given)


DIALECT: Dialect = OpenAIDialect()
