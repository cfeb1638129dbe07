import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.batch import MAX_ITEMS
from cacheproxy.protocols.openai.rerank import DIALECT
from cacheproxy.protocols.request import Incoming, InferenceRequest, InvalidRequest
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools
from tests.cacheproxy.protocols.batches import check
from tests.cacheproxy.protocols.streams import texts

DOCUMENTS = ["Oslo", "Rome is old", "Oslo"]


def parse(**fields: Any) -> InferenceRequest:
    given = {"documents": DOCUMENTS} if "texts" not in fields else {}
    return DIALECT.parse(Incoming(json.dumps({"model": "m", "query": "Where?", **given, **fields}).encode()))


def texts_of(request: InferenceRequest) -> list[Any]:
    fields = request.document
    return list(fields["texts"] if "texts" in fields else fields["documents"])


def ranked(
    request: InferenceRequest, score: str, field: str, *, always: bool = False
) -> list[dict[str, Any]]:
    """Score each document by its text alone, and answer as servers do."""
    fields = request.document
    results: list[dict[str, Any]] = []
    for index, text in enumerate(texts_of(request)):
        shown = {"text": text} if field == "document" and isinstance(text, str) else text
        told = {field: shown} if always or fields.get("return_documents") or fields.get("return_text") else {}
        results.append({"index": index, score: len(json.dumps(text)) % 5 / 4, **told})
    results.sort(key=lambda result: -result[score])
    return results[: fields.get("top_n") or fields.get("top_k")]


def tokens(request: InferenceRequest) -> int:
    return sum(3 + len(json.dumps(text)) for text in texts_of(request))


def jina(request: InferenceRequest) -> Any:
    usage = {"total_tokens": tokens(request), "prompt_tokens": tokens(request)}
    results = ranked(request, "relevance_score", "document")
    return {"model": "m", "object": "list", "usage": usage, "results": results}


def vllm(request: InferenceRequest) -> Any:
    results = ranked(request, "relevance_score", "document", always=True)
    return {"id": "rerank-1", "model": "m", "usage": {"total_tokens": tokens(request)}, "results": results}


def voyage(request: InferenceRequest) -> Any:
    data = ranked(request, "relevance_score", "document")
    return {"object": "list", "data": data, "model": "m", "usage": {"total_tokens": tokens(request)}}


def cohere(request: InferenceRequest) -> Any:
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": len(texts_of(request))}}
    return {"id": "1", "results": ranked(request, "relevance_score", "document"), "meta": meta}


def tei(request: InferenceRequest) -> Any:
    return ranked(request, "score", "text")


SERVERS = [jina, vllm, voyage, cohere, tei]


class TestRequest:
    def test_it_goes_to_the_surface(self) -> None:
        call = DIALECT.upstream_call(parse(top_n=2, rank_fields=["a"]), "rerank-v3")
        assert call.path == "/rerank"
        assert msgspec.json.decode(call.body) == {
            "model": "rerank-v3",
            "query": "Where?",
            "documents": DOCUMENTS,
            "top_n": 2,
            "rank_fields": ["a"],
        }

    @pytest.mark.parametrize(
        ("fields", "code", "param"),
        [
            ({"query": ""}, "invalid_field", "query"),
            ({"query": 5}, "invalid_field", "query"),
            ({"documents": []}, "invalid_field", "documents"),
            ({"documents": "x"}, "invalid_field", "documents"),
            ({"documents": None}, "missing_field", "documents"),
            ({"texts": []}, "invalid_field", "texts"),
            ({"top_n": 0}, "invalid_field", "top_n"),
            ({"top_n": True}, "invalid_field", "top_n"),
            ({"top_k": "1"}, "invalid_field", "top_k"),
            ({"return_documents": 1}, "invalid_field", "return_documents"),
        ],
    )
    def test_what_cannot_be_understood(self, fields: dict[str, Any], code: str, param: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse(**fields)
        assert (refused.value.code, refused.value.param) == (code, param)


class TestAnswer:
    @pytest.mark.parametrize("serve", SERVERS)
    def test_every_server(self, serve: Any) -> None:
        assert DIALECT.is_answer(parse(), serve(parse()))

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            {},
            [],
            {"results": []},
            {"results": [{"index": 3, "relevance_score": 1.0}]},
            {"results": [{"index": "0", "relevance_score": 1.0}]},
            {"results": [{"index": 0, "relevance_score": "high"}]},
            {"results": [{"index": 0, "relevance_score": 1.0}], "error": {"message": "no"}},
        ],
    )
    def test_what_is_none(self, answer: Any) -> None:
        assert not DIALECT.is_answer(parse(), answer)

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ({"usage": {"total_tokens": 9}}, UsageReport(TokenPools(input=9))),
            ({"usage": {"total_tokens": 9, "prompt_tokens": 9}}, UsageReport(TokenPools(input=9))),
            ({"meta": {"billed_units": {"search_units": 2}}}, UsageReport(units=2)),
            ({"meta": {"billed_units": {"search_units": 2.0}}}, UsageReport(units=2)),
            (
                {"meta": {"tokens": {"input_tokens": 7, "output_tokens": 1}}},
                UsageReport(TokenPools(7, output=1)),
            ),
            ({"meta": {"billed_units": {"search_units": 0}}, "usage": {"total_tokens": 0}}, None),
            ({"meta": None}, None),
            ([{"index": 0, "score": 1.0}], None),
        ],
    )
    def test_usage(self, answer: Any, expected: UsageReport | None) -> None:
        assert DIALECT.usage(parse(), answer, {}, 0) == expected

    @pytest.mark.parametrize(
        "answer", [{"usage": 5}, {"meta": []}, {"meta": {"billed_units": {"search_units": "1"}}}]
    )
    def test_a_report_that_makes_no_sense(self, answer: Any) -> None:
        with pytest.raises(UsageMismatch):
            DIALECT.usage(parse(), answer, {}, 0)

    def test_a_metering_rule(self) -> None:
        assert DIALECT.usage(parse(), [], {"units": {"per_item": "/documents"}}, 0) == UsageReport(units=3)

    def test_an_estimate(self) -> None:
        assert DIALECT.estimate(parse(), None).pools == TokenPools(input=3 * 2 + 5)


documents = st.lists(
    texts | st.fixed_dictionaries({"text": texts}, optional={"title": texts}), min_size=1, max_size=6
)


class TestBatch:
    @settings(deadline=None)
    @given(
        st.sampled_from(SERVERS),
        documents,
        st.sets(st.integers(0, 5)),
        st.none() | st.integers(1, 8),
        st.sampled_from([{}, {"return": True}]),
    )
    def test_parts_make_the_whole(
        self, serve: Any, given_: list[Any], cached: set[int], top_n: int | None, returns: dict[str, bool]
    ) -> None:
        name, asks = ("texts", "return_text") if serve is tei else ("documents", "return_documents")
        fields: dict[str, Any] = {name: given_, **({asks: True} if returns else {})}
        if top_n:
            fields["top_k" if serve is voyage else "top_n"] = top_n
        request = parse(**fields)
        batch = DIALECT.batch(request, None)
        assert batch is not None
        places = sorted(place for place in cached if place < len(given_))
        check(batch, request, serve, lambda asked, answer: DIALECT.usage(asked, answer, {}, 0), places)

    def test_only_what_decides_a_score_is_in_an_items_key(self) -> None:
        one, other = parse(top_n=1, return_documents=True), parse(documents=["Rome is old", "Oslo"])
        first, second = (
            [DIALECT.canonical(item, ()) for item in batch_of(each).items] for each in (one, other)
        )
        assert first == [second[1], second[0], second[1]]
        assert first[0] == DIALECT.canonical(parse(documents=["Oslo"]), ())
        assert first[0] != DIALECT.canonical(batch_of(parse(query="Who?")).items[0], ())

    def test_documents_that_are_not_wanted_are_left_out(self) -> None:
        request = parse(return_documents=False)
        batch = batch_of(request)
        answers = batch.split([0, 1, 2], vllm(parse()))
        joined = msgspec.json.decode(batch.join(answers, UsageReport(TokenPools(input=5))))
        assert all("document" not in result for result in joined["results"])
        assert joined["usage"] == {"total_tokens": 5}

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            {"results": []},
            {"results": [{"index": 0, "score": 1}] * 3},
            {"results": [{"index": place, "relevance_score": None} for place in range(3)]},
            {"results": [{"index": place + 1, "relevance_score": 1} for place in range(3)]},
        ],
    )
    def test_an_answer_without_a_score_for_each(self, answer: Any) -> None:
        with pytest.raises(ValueError, match=r"answer|score"):
            batch_of(parse()).split([0, 1, 2], answer)

    def test_beyond_the_bounds_a_request_stays_whole(self) -> None:
        assert DIALECT.batch(parse(documents=["x"] * (MAX_ITEMS + 1)), None) is None
        assert DIALECT.batch(parse(documents=["x"] * 100, query="q" * 200_000), None) is None
        assert DIALECT.batch(parse(documents={"content": ["x"]}), None) is None


def batch_of(request: InferenceRequest) -> Any:
    return DIALECT.batch(request, None)
