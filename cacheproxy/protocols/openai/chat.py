"""Chat completions, plain and streamed."""

from collections.abc import Collection, Iterable
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.estimate import spoken, text_tokens
from cacheproxy.protocols.openai.assembly import FAILED_ENDINGS, ChatAssembly
from cacheproxy.protocols.openai.fields import (
    CLIENT_TOOLS,
    OpenAIDialect,
    asking_for_usage,
    checked,
    finish_reasons,
    model_of,
    objects,
    read_object,
    streaming,
)
from cacheproxy.protocols.openai.replay import replay_chat
from cacheproxy.protocols.openai.stream import ChunkReader
from cacheproxy.protocols.request import (
    Dialect,
    Incoming,
    InferenceRequest,
    StreamReader,
    UpstreamCall,
    Wording,
)
from cacheproxy.protocols.turns import wording_of
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools

_STATEFUL = {
    "store",
    "background",
    "conversation",
    "previous_response_id",
    "web_search_options",
    "search_parameters",  # xAI's search
    "enable_search",  # Qwen's search
    "plugins",  # OpenRouter's search and file readers
}
_ANSWER_TEXTS = ("content", "refusal", "tool_calls", "function_call")


class ChatDialect(OpenAIDialect):
    """OpenAI's chat, as spoken by OpenAI and by most others."""

    surface = "chat.completions"
    default_temperature = 1.0

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return a chat request. The model is in the body."""
        fields = read_object(incoming.body)
        model = model_of(fields)
        checked(fields, "messages", list, "a non-empty list")
        stream, wants_usage = streaming(fields)
        return InferenceRequest(model=model, document=fields, stream=stream, wants_usage=wants_usage)

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model; a stream is asked for its usage."""
        return UpstreamCall("/chat/completions", document.write(asking_for_usage(request, upstream_model)))

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return whether no server-side state, search or tool is involved."""
        fields = request.document
        if any(fields[field] not in (None, False) for field in _STATEFUL & fields.keys()):
            return False
        return all(tool.get("type") in CLIENT_TOOLS for tool in objects(fields.get("tools")))

    def wording(self, request: InferenceRequest) -> Wording | None:
        """Return the last message, where it is the user's and one text, and the rest."""
        return wording_of(request, "messages", kinds=("text",))

    def said(self, answer: Any) -> str:
        """Return the choices' texts and tool calls."""
        messages = objects([choice.get("message") for choice in objects(answer.get("choices"))])
        return spoken([message.get(field) for message in messages for field in _ANSWER_TEXTS])

    def output_limit(self, request: InferenceRequest) -> int | None:
        """Return `max_completion_tokens`, or `max_tokens` as it was called before, for every choice."""
        fields = request.document
        limit = fields.get("max_completion_tokens") or fields.get("max_tokens")
        choices = fields.get("n") or 1
        return limit * choices if isinstance(limit, int) and isinstance(choices, int) else None

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether every choice has ended well."""
        if not isinstance(answer, dict) or answer.get("error"):
            return False
        choices = objects(answer.get("choices"))
        return bool(choices) and all(map(_has_ended_well, choices))

    def endings(self, answer: Any) -> Collection[str]:
        """Return every choice's `finish_reason`."""
        return finish_reasons(answer)

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the texts."""
        choices = objects(answer.get("choices") if isinstance(answer, dict) else None)
        messages = objects([choice.get("message") for choice in choices])
        reasoning = [message.get("reasoning_content") or message.get("reasoning") for message in messages]
        texts = [message.get(field) for message in messages for field in _ANSWER_TEXTS]
        given = text_tokens([request.document["messages"], request.document.get("tools")])
        pools = TokenPools(input=given, output=text_tokens([texts, reasoning]))
        return UsageReport(pools, output_reasoning=text_tokens(reasoning))

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader of a chat stream."""
        return ChunkReader(ChatAssembly(), wants_usage=request.wants_usage)

    def replay(self, request: InferenceRequest, answer: bytes) -> Iterable[bytes]:
        """Return the stored answer as a chat stream."""
        return replay_chat(document.read(answer), wants_usage=request.wants_usage)


def _has_ended_well(choice: dict[str, Any]) -> bool:
    return isinstance(choice.get("message"), dict) and choice.get("finish_reason") not in FAILED_ENDINGS


DIALECT: Dialect = ChatDialect()
