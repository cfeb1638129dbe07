"""Embeddings: one vector for each text, or list of token numbers."""

from collections.abc import Mapping
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.estimate import text_tokens
from cacheproxy.protocols.openai.fields import OpenAIDialect, checked, model_of, objects, read_object
from cacheproxy.protocols.request import Dialect, Incoming, InferenceRequest, UpstreamCall
from metering import provider_usage
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools


class EmbeddingsDialect(OpenAIDialect):
    """OpenAI's embeddings."""

    surface = "embeddings"

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return an embeddings request. The model is in the body."""
        fields = read_object(incoming.body)
        model = model_of(fields)
        checked(fields, "input", (str, list), "a non-empty string or list")
        return InferenceRequest(model=model, document=fields)

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model."""
        return UpstreamCall("/embeddings", document.write({**request.document, "model": upstream_model}))

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether every input has its embedding."""
        if not isinstance(answer, dict) or answer.get("error"):
            return False
        vectors = [item.get("embedding") for item in objects(answer.get("data"))]
        return all(vectors) and len(vectors) == len(_inputs(request))

    def read_usage(self, usage: Mapping[str, Any]) -> UsageReport:
        """Return the prompt's tokens; there are no others."""
        return provider_usage.openai_embeddings(usage)

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the texts; token lists count exactly."""
        return UsageReport(TokenPools(input=sum(map(_input_tokens, _inputs(request)))))


def _inputs(request: InferenceRequest) -> list[Any]:
    """Return what is to be embedded, one by one: texts, or lists of token numbers."""
    given = request.document["input"]
    return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


def _input_tokens(given: Any) -> int:
    return len(given) if isinstance(given, list) else text_tokens(given)


DIALECT: Dialect = EmbeddingsDialect()
