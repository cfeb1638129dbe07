"""Responses, plain and streamed.

**State.** A response is kept by its provider unless `store` is false (absent means true), and a later call may
name its id. A repeated call may have the first one's answer all the same: the id in it is that of a response
which the provider does keep, and going on from it twice forks it, for responses never change. So the answers of
calls that are stored and of calls that are not have keys of their own; no id is ever given that its provider
would not know, or know though it was asked not to. What *reads* state is never cached: `previous_response_id`,
`conversation`, references to items, and a stored prompt whose version is left open. Nor is work in the
background, or a tool that the provider runs (search, interpreters, computers, MCP, image generation).

A response repeats what its caller said of itself (`metadata` and the like). These decide no answer, so they are
not in the key; a kept response gets its new caller's words before it is given.
"""

from collections.abc import Collection, Iterable
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.estimate import spoken, text_tokens
from cacheproxy.protocols.openai.fields import (
    CLIENT_TOOLS,
    OpenAIDialect,
    checked,
    flag,
    model_of,
    objects,
    read_object,
)
from cacheproxy.protocols.openai.response_events import ResponseReader, replay_response
from cacheproxy.protocols.request import (
    Dialect,
    Incoming,
    InferenceRequest,
    StreamReader,
    UpstreamCall,
    Wording,
)
from cacheproxy.protocols.sse import named_frame
from cacheproxy.protocols.turns import wording_of
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools

_STATEFUL = ("background", "conversation", "previous_response_id")
_INSTEAD_OF_INPUT = ("prompt", "conversation", "previous_response_id")
_SAID = ("content", "name", "arguments", "input")
"""Fields of an item of output that are its text."""
_GOOD_ENDINGS = ("max_output_tokens", "content_filter")
"""Reasons to be incomplete that asking again would meet again."""


class ResponsesDialect(OpenAIDialect):
    """OpenAI's responses."""

    surface = "responses"
    default_temperature = 1.0
    echoed = ("metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return a responses request. The model is in the body."""
        fields = read_object(incoming.body)
        model = model_of(fields)
        if "input" in fields or not any(fields.get(field) for field in _INSTEAD_OF_INPUT):
            checked(fields, "input", (str, list), "a non-empty string or list")
        flag(fields, "store", "store")
        stream = flag(fields, "stream", "stream")
        return InferenceRequest(model=model, document=fields, stream=stream, stamp=self.stamp_of(fields))

    def deciding(self, request: InferenceRequest) -> dict[str, Any]:
        """Return the fields that decide, among them whether the response is stored."""
        return {**super().deciding(request), "store": request.document.get("store") is not False}

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model."""
        return UpstreamCall("/responses", document.write({**request.document, "model": upstream_model}))

    def cacheable(self, request: InferenceRequest) -> bool:
        """Return whether the answer depends on no state, search or tool of the provider's."""
        fields = request.document
        prompt = fields.get("prompt")
        return (
            not any(fields.get(field) for field in _STATEFUL)
            and (not prompt or (isinstance(prompt, dict) and bool(prompt.get("version"))))
            and all(item.get("type") != "item_reference" for item in objects(fields.get("input")))
            and all(tool.get("type") in CLIENT_TOOLS for tool in objects(fields.get("tools")))
        )

    def is_addressed(self, request: InferenceRequest) -> bool:
        """Return True: calls name a response to go on from it, and items of it."""
        return True

    def wording(self, request: InferenceRequest) -> Wording | None:
        """Return the input, or its last message where that is the user's and one text, and the rest."""
        return wording_of(request, "input", kinds=("input_text", "text"))

    def said(self, answer: Any) -> str:
        """Return the texts and tool calls of the output, without its reasoning."""
        items = [item for item in objects(answer.get("output")) if not _thinks(item)]
        return spoken([item.get(field) for item in items for field in _SAID])

    def output_limit(self, request: InferenceRequest) -> int | None:
        """Return `max_output_tokens`."""
        limit = request.document.get("max_output_tokens")
        return limit if isinstance(limit, int) else None

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether the response is complete, or was cut off as it would be again."""
        if not isinstance(answer, dict) or answer.get("error") or not isinstance(answer.get("output"), list):
            return False
        status, details = answer.get("status"), answer.get("incomplete_details")
        if status == "incomplete" and isinstance(details, dict):
            return details.get("reason") in _GOOD_ENDINGS
        return bool(status == "completed")

    def endings(self, answer: Any) -> Collection[str]:
        """Return `completed`, or the reason for which the response is incomplete."""
        details = answer.get("incomplete_details")
        return (answer["status"] if not details else details["reason"],)

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the texts."""
        fields = request.document
        items = objects(answer.get("output") if isinstance(answer, dict) else None)
        reasoning = text_tokens(
            [[item.get("summary"), item.get("content")] for item in items if _thinks(item)]
        )
        said = [[item.get(field) for field in _SAID] for item in items]
        given = text_tokens([fields.get("instructions"), fields.get("input"), fields.get("tools")])
        output = reasoning + text_tokens(
            [text for text, item in zip(said, items, strict=True) if not _thinks(item)]
        )
        return UsageReport(TokenPools(input=given, output=output), output_reasoning=reasoning)

    def stream_error(self, *, status: int, code: str, message: str) -> bytes:
        """Return the error as the event of that type; OpenAI's clients raise it for its `error`."""
        error = document.read(self.error(status=status, code=code, message=message, param=None))
        event = {"type": "error", "code": code, "message": message, "param": None, **error}
        return named_frame("error", document.write(event))

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader of a responses stream."""
        return ResponseReader()

    def replay(self, request: InferenceRequest, answer: bytes) -> Iterable[bytes]:
        """Return the stored response as a stream."""
        return replay_response(document.read(answer))


def _thinks(item: dict[str, Any]) -> bool:
    return item.get("type") == "reasoning"


DIALECT: Dialect = ResponsesDialect()
