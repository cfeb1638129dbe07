"""Completions as they were before chat: a text, or several, goes on."""

from collections.abc import Collection, Iterable
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.estimate import text_tokens
from cacheproxy.protocols.openai.assembly import FAILED_ENDINGS, CompletionAssembly
from cacheproxy.protocols.openai.fields import (
    OpenAIDialect,
    asking_for_usage,
    finish_reasons,
    model_of,
    objects,
    read_object,
    streaming,
)
from cacheproxy.protocols.openai.replay import replay_completion
from cacheproxy.protocols.openai.stream import ChunkReader
from cacheproxy.protocols.request import (
    Dialect,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    StreamReader,
    UpstreamCall,
)
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools


class CompletionsDialect(OpenAIDialect):
    """OpenAI's legacy completions, as vLLM and others still speak them."""

    surface = "completions"
    default_temperature = 1.0

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return a completions request. One without a prompt (some servers take embeddings) is theirs to judge."""
        fields = read_object(incoming.body)
        model = model_of(fields)
        prompt = fields.get("prompt")
        if not isinstance(prompt, str | list | None) or prompt == []:
            message = "prompt must be a string or a non-empty list."
            raise InvalidRequest(message, code="invalid_field", param="prompt")
        stream, wants_usage = streaming(fields)
        return InferenceRequest(model=model, document=fields, stream=stream, wants_usage=wants_usage)

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model; a stream is asked for its usage."""
        return UpstreamCall("/completions", document.write(asking_for_usage(request, upstream_model)))

    def output_limit(self, request: InferenceRequest) -> int | None:
        """Return `max_tokens` for every completion of every prompt, those of `best_of` that are thrown away too."""
        fields = request.document
        limit, choices = fields.get("max_tokens"), fields.get("best_of") or fields.get("n") or 1
        if not isinstance(limit, int) or not isinstance(choices, int):
            return None
        return limit * choices * len(_prompts(request))

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
        """Return an estimate from the texts; token lists count exactly, and an echoed prompt is no output."""
        prompts = _prompts(request)
        given = sum(len(prompt) if isinstance(prompt, list) else text_tokens(prompt) for prompt in prompts)
        choices = objects(answer.get("choices") if isinstance(answer, dict) else None)
        output = text_tokens([choice.get("text") for choice in choices])
        if request.document.get("echo"):
            output = max(0, output - given)
        return UsageReport(TokenPools(input=given, output=output))

    def stream_reader(self, request: InferenceRequest) -> StreamReader:
        """Return the reader of a completions stream."""
        return ChunkReader(CompletionAssembly(), wants_usage=request.wants_usage)

    def replay(self, request: InferenceRequest, answer: bytes) -> Iterable[bytes]:
        """Return the stored answer as a completions stream."""
        return replay_completion(document.read(answer), wants_usage=request.wants_usage)


def _prompts(request: InferenceRequest) -> list[Any]:
    """Return the prompts one by one: texts, or lists of token numbers."""
    given = request.document.get("prompt")
    return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


def _has_ended_well(choice: dict[str, Any]) -> bool:
    return isinstance(choice.get("text"), str) and choice.get("finish_reason") not in FAILED_ENDINGS


DIALECT: Dialect = CompletionsDialect()
