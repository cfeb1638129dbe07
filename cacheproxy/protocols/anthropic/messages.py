"""Messages, plain and streamed."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from cacheproxy.protocols import document
from cacheproxy.protocols.anthropic.fields import AnthropicDialect
from cacheproxy.protocols.anthropic.replay import replay
from cacheproxy.protocols.anthropic.stream import MessageStreamReader
from cacheproxy.protocols.estimate import spoken, text_tokens
from cacheproxy.protocols.metering_rule import apply_rules
from cacheproxy.protocols.openai.fields import flag, objects, reported
from cacheproxy.protocols.request import Dialect, Incoming, InferenceRequest, StreamReader, Wording
from cacheproxy.protocols.turns import wording_of
from metering import provider_usage
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools

_UNFINISHED = (None, "", "pause_turn")
"""Stop reasons that are none, or say that the client must send the message back to hear the rest."""


class MessagesDialect(AnthropicDialect):
    """Anthropic's messages, as spoken by Anthropic and by servers that imitate it."""

    surface = "messages"
    path = "/v1/messages"
    default_temperature = 1.0

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return a message request, which may ask for a stream."""
        request = super().parse(incoming)
        return msgspec.structs.replace(request, stream=flag(request.document, "stream", "stream"))

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return whether the request alone decides; one for no tokens is sent to warm the provider's cache."""
        return request.document.get("max_tokens") != 0 and super().cacheable(request)

    def wording(self, request: InferenceRequest) -> Wording | None:
        """Return the last message, where it is the user's and one text, and the rest."""
        return wording_of(request, "messages", kinds=("text",))

    def said(self, answer: Any) -> str:
        """Return the message's texts and tool calls, without its thinking."""
        return spoken([_said(block) for block in objects(answer.get("content"))])

    def output_limit(self, request: InferenceRequest) -> int | None:
        """Return `max_tokens`."""
        limit = request.document.get("max_tokens")
        return limit if type(limit) is int else None

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether this is a message that has come to its end."""
        if not isinstance(answer, dict) or answer.get("type") != "message":
            return False
        content, ending = answer.get("content"), answer.get("stop_reason")
        whole = isinstance(content, list) and all(isinstance(block, dict) for block in content)
        return whole and isinstance(ending, str) and ending not in _UNFINISHED

    def endings(self, answer: Any) -> Collection[str]:
        """Return the message's `stop_reason`."""
        return (answer["stop_reason"],)

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule says, else the message's usage.

        A stream's start states the input and next to no output; until its end says more, there is no report.
        """
        if metering:
            return apply_rules(metering, request=request.document, answer=answer, body_size=body_size)
        usage = reported(answer)
        return provider_usage.anthropic(usage) if usage is not None and answer.get("stop_reason") else None

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the texts; what a stream's start said of the input is no guess."""
        blocks = objects(answer.get("content") if isinstance(answer, dict) else None)
        thinking = text_tokens([block.get("thinking") for block in blocks])
        said = [[block.get("text"), block.get("name"), block.get("input")] for block in blocks]
        output = text_tokens([said, [block.get("thinking") for block in blocks]])
        begun = _begun(answer)
        if begun is not None:
            return UsageReport(begun._replace(output=max(begun.output, output)), thinking)
        fields = request.document
        given = text_tokens([fields["messages"], fields.get("system"), fields.get("tools")])
        return UsageReport(TokenPools(input=given, output=output), thinking)

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader of a message stream."""
        return MessageStreamReader()

    def replay(self, request: InferenceRequest, answer: bytes) -> Iterable[bytes]:
        """Return the stored message as a stream."""
        return replay(document.read(answer))


def _said(block: dict[str, Any]) -> list[Any]:
    """Return a block's text, or the tool that it calls and with what, to the number."""
    if block.get("type") == "tool_use":
        return [block.get("name"), document.canonical(block.get("input")).decode()]
    return [block.get("text")]


def _begun(answer: Any) -> TokenPools | None:
    """Return the pools that an unfinished message states, if any."""
    try:
        usage = reported(answer)
        return None if usage is None else provider_usage.anthropic(usage).pools
    except UsageMismatch:
        return None


DIALECT: Dialect = MessagesDialect()
