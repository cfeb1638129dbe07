"""Reranking: how well does each document answer a query?

OpenAI has no such surface; what Cohere and Jina began, vLLM, TEI, Voyage and others speak with small
differences: `documents` or `texts`; `results`, `data` or a bare list; `relevance_score` or `score`.

A document's score depends on the query and on it alone, so every document is an item of its own. How many come
back, and whether with their texts, is done here when the items are joined, as the servers do it.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from cacheproxy.protocols import document
from cacheproxy.protocols.batch import divided, in_order, may_be_taken_apart, summed
from cacheproxy.protocols.estimate import text_tokens
from cacheproxy.protocols.metering_rule import apply_rules
from cacheproxy.protocols.openai.fields import OpenAIDialect, checked, flag, model_of, objects, read_object
from cacheproxy.protocols.request import (
    Batch,
    Dialect,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    UpstreamCall,
)
from metering import provider_usage
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools

_LIMITS = ("top_n", "top_k")
_RETURNS = {"return_documents": "document", "return_text": "text"}
"""What asks for the documents, and where a result then has its own."""
_OF_THE_JOIN = {*_LIMITS, *_RETURNS}


class RerankDialect(OpenAIDialect):
    """Rerankers in the manner of Cohere and Jina."""

    surface = "rerank"

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return a rerank request. The model is in the body."""
        fields = read_object(incoming.body)
        model = model_of(fields)
        checked(fields, "query", (str, dict, list), "a non-empty string")
        checked(fields, _place(fields), (list, dict), "a non-empty list")
        for name in _LIMITS:
            if (limit := fields.get(name)) is not None and (type(limit) is not int or limit < 1):
                raise InvalidRequest(f"{name} must be a positive integer.", code="invalid_field", param=name)
        for name in _RETURNS:
            flag(fields, name, name)
        return InferenceRequest(model=model, document=fields)

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the request under the upstream's name of the model."""
        return UpstreamCall("/rerank", document.write({**request.document, "model": upstream_model}))

    def batch(self, request: InferenceRequest, pointer: str | None) -> Batch | None:
        """Return the documents one by one; a single one as well, for its score does not depend on `top_n`."""
        documents = request.document[_place(request.document)]
        shared = {**request.document, _place(request.document): []}
        many = isinstance(documents, list) and may_be_taken_apart(shared, len(documents))
        return RerankBatch(request) if many else None

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether there are scores of documents that were asked about."""
        results = objects(_results(answer))
        documents = request.document[_place(request.document)]
        return bool(results) and all(
            _is_score(_score(result)) and result.get("index") in range(len(documents)) for result in results
        )

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule says, else tokens or search units."""
        if metering:
            return apply_rules(metering, request=request.document, answer=answer, body_size=body_size)
        return provider_usage.rerank(answer) if isinstance(answer, dict) else None

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return an estimate from the texts: the model reads the query before each document."""
        documents = request.document[_place(request.document)]
        queries = text_tokens(request.document["query"]) * len(documents)
        return UsageReport(TokenPools(input=queries + text_tokens(documents)))


class RerankBatch:
    """A request for several scores, as `cacheproxy.protocols.request.Batch` describes it."""

    def __init__(self, request: InferenceRequest) -> None:
        self._request = request
        self._place = _place(request.document)
        self._documents: list[Any] = request.document[self._place]

    @cached_property
    def items(self) -> Sequence[InferenceRequest]:
        """The request for each document alone, and for its score alone."""
        return [self.asking([place]) for place in range(len(self._documents))]

    def asking(self, places: Sequence[int]) -> InferenceRequest:
        """Return the request for the scores of these documents, all of them."""
        fields = {name: value for name, value in self._request.document.items() if name not in _OF_THE_JOIN}
        fields[self._place] = [self._documents[place] for place in places]
        return msgspec.structs.replace(self._request, document=fields)

    def split(self, places: Sequence[int], answer: Any) -> list[bytes]:
        """Return an answer for each document, with its share of the usage.

        Raises:
            ValueError: there is not one score for each.
        """
        results = in_order(_results(answer), len(places))
        if not all(_is_score(_score(result)) for result in results):
            raise ValueError("a result has no score")
        reports = divided(_report(answer), self.weights(places))
        return [
            document.write(_with_results(answer, [{**result, "index": 0}], report))
            for result, report in zip(results, reports, strict=True)
        ]

    def weights(self, places: Sequence[int]) -> list[int]:
        """Return the estimated tokens of each document, after the query."""
        query = text_tokens(self._request.document["query"])
        return [max(1, query + text_tokens(self._documents[place])) for place in places]

    def join(self, answers: Sequence[bytes], usage: UsageReport) -> bytes:
        """Return the best of them, the best first and those of one score in the request's order.

        Raises:
            ValueError: one of the answers is none for a single document.
        """
        read = [msgspec.json.decode(answer) for answer in answers]
        results = []
        for place, answer in enumerate(read):
            (result,) = in_order(_results(answer), 1)
            results.append(self._as_asked({**result, "index": place}))
        results.sort(key=_score, reverse=True)
        report = _stated(summed([_report(answer) for answer in read]), usage)
        return document.write(_with_results(read[0], results[: self._limit()], report))

    def _as_asked(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result with its document or without, as asked for; where nothing was asked, as it is."""
        for name, field in _RETURNS.items():
            asked, given = self._request.document.get(name), self._documents[result["index"]]
            if asked and field not in result:
                result[field] = {"text": given} if field == "document" and isinstance(given, str) else given
            elif asked is False:
                result.pop(field, None)
        return result

    def _limit(self) -> int | None:
        return next((limit for name in _LIMITS if (limit := self._request.document.get(name))), None)


def _place(fields: Mapping[str, Any]) -> str:
    """Return what the request calls its documents."""
    return "texts" if "texts" in fields and "documents" not in fields else "documents"


def _results(answer: Any) -> Any:
    """Return the list of results, or None."""
    if not isinstance(answer, dict):
        return answer
    return None if answer.get("error") else answer.get("results", answer.get("data"))


def _with_results(answer: Any, results: list[Any], report: dict[str, Any]) -> Any:
    """Return the answer with other results and another report."""
    if not isinstance(answer, dict):
        return results
    meta = {"meta": {**answer["meta"], **report.get("meta", {})}} if "meta" in report else {}
    usage = {"usage": report["usage"]} if "usage" in report else {}
    return {**answer, "results" if "results" in answer else "data": results, **meta, **usage}


def _report(answer: Any) -> dict[str, Any]:
    """Return all that an answer reports of its usage, where it reports it."""
    if not isinstance(answer, dict):
        return {}
    meta = answer.get("meta")
    counts = (
        {name: meta[name] for name in ("billed_units", "tokens") if name in meta}
        if isinstance(meta, dict)
        else {}
    )
    usage = {"usage": answer["usage"]} if isinstance(answer.get("usage"), dict) else {}
    return {**usage, **({"meta": counts} if counts else {})}


def _stated(report: dict[str, Any], usage: UsageReport) -> dict[str, Any]:
    """Return the report with the figures of this usage in the places that it has."""
    figures = {
        "total_tokens": usage.pools.total,
        "prompt_tokens": usage.pools.given,
        "input_tokens": usage.pools.given,
        "output_tokens": usage.pools.output,
        "search_units": usage.units,
    }

    def stated(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {field: stated(inner, field) for field, inner in value.items()}
        return figures.get(name, value)

    stated_report: dict[str, Any] = stated(report, "")
    return stated_report


def _score(result: dict[str, Any]) -> Any:
    return result.get("relevance_score", result.get("score"))


def _is_score(score: Any) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool)


DIALECT: Dialect = RerankDialect()
