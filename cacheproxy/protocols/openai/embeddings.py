"""Embeddings: one vector for each text, or list of token numbers, which are each other's strangers: a batch."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from cacheproxy.protocols import document
from cacheproxy.protocols.batch import divided, in_order, may_be_taken_apart, summed
from cacheproxy.protocols.estimate import text_tokens
from cacheproxy.protocols.openai.fields import OpenAIDialect, checked, model_of, objects, read_object
from cacheproxy.protocols.request import Batch, Dialect, Incoming, InferenceRequest, UpstreamCall
from cacheproxy.protocols.rounding import rounded
from metering import provider_usage
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools

_Fields = dict[str, msgspec.Raw]
_fields = msgspec.json.Decoder(_Fields)
_vectors = msgspec.json.Decoder(list[_Fields])


class EmbeddingsDialect(OpenAIDialect):
    """OpenAI's embeddings."""

    surface = "embeddings"

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return an embeddings request. The model is in the body."""
        fields = read_object(incoming.body)
        model = model_of(fields)
        checked(fields, "input", (str, list), "a non-empty string or list")
        return InferenceRequest(model=model, document=fields)

    def deciding(self, request: InferenceRequest) -> dict[str, Any]:
        """Return the fields that decide. One input alone, and a list of this one, ask for the same."""
        return {**super().deciding(request), "input": _inputs(request)}

    def rounded(self, request: InferenceRequest, digits: int) -> InferenceRequest:
        """Return the request with its inputs rounded, where they are numbers."""
        fields = {**request.document, "input": rounded(request.document["input"], digits)}
        return msgspec.structs.replace(request, document=fields)

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model."""
        return UpstreamCall("/embeddings", document.write({**request.document, "model": upstream_model}))

    def batch(self, request: InferenceRequest, pointer: str | None) -> Batch | None:
        """Return the inputs one by one; None for a single one."""
        inputs = _inputs(request)
        shared = {**request.document, "input": []}
        many = len(inputs) > 1 and may_be_taken_apart(shared, len(inputs))
        return EmbeddingsBatch(request, inputs) if many else None

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


class EmbeddingsBatch:
    """A request for several embeddings, as `cacheproxy.protocols.request.Batch` describes it."""

    def __init__(self, request: InferenceRequest, inputs: list[Any]) -> None:
        self._request = request
        self._inputs = inputs

    @cached_property
    def items(self) -> Sequence[InferenceRequest]:
        """The request for each input alone."""
        return [self.asking([place]) for place in range(len(self._inputs))]

    def asking(self, places: Sequence[int]) -> InferenceRequest:
        """Return the request for these inputs alone."""
        fields = {**self._request.document, "input": [self._inputs[place] for place in places]}
        return msgspec.structs.replace(self._request, document=fields)

    def split(self, places: Sequence[int], answer: Any) -> list[bytes]:
        """Return an answer for each input, with its share of the usage.

        Raises:
            ValueError: there is not one embedding for each.
        """
        vectors = in_order(answer.get("data") if isinstance(answer, dict) else None, len(places))
        usages = divided(answer.get("usage"), self.weights(places))
        return [
            document.write(
                {**answer, "data": [{**vector, "index": 0}], **({"usage": usage} if usage else {})}
            )
            for vector, usage in zip(vectors, usages, strict=True)
        ]

    def weights(self, places: Sequence[int]) -> list[int]:
        """Return the estimated tokens of each input."""
        return [max(1, _input_tokens(self._inputs[place])) for place in places]

    def join(self, answers: Sequence[bytes], usage: UsageReport) -> bytes:
        """Return one answer of them all; the vectors are copied, not read.

        Raises:
            ValueError: one of the answers is none for a single input.
        """
        read = [_fields.decode(answer) for answer in answers]
        data: list[dict[str, Any]] = []
        for place, fields in enumerate(read):
            (vector,) = _vectors.decode(fields["data"])
            data.append({**vector, "index": place})
        reports = [msgspec.json.decode(fields["usage"]) for fields in read if "usage" in fields]
        told = [report for report in reports if isinstance(report, dict)]
        figures = {"prompt_tokens": usage.pools.given, "total_tokens": usage.pools.total}
        return document.write(
            {**read[0], "data": data, "usage": {**(summed(told) if told else {}), **figures}}
        )


def _inputs(request: InferenceRequest) -> list[Any]:
    """Return what is to be embedded, one by one: texts, or lists of token numbers."""
    given = request.document["input"]
    return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


def _input_tokens(given: Any) -> int:
    return len(given) if isinstance(given, list) else text_tokens(given)


DIALECT: Dialect = EmbeddingsDialect()
