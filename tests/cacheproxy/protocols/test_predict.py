import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.predict import DIALECT, PredictDialect
from cacheproxy.protocols.request import JSON, Incoming, InferenceRequest, InvalidRequest, UpstreamCall
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools

IMAGE = base64.b64encode(bytes(range(256)) * 40).decode()
DOCUMENT = {"image": IMAGE, "timestamp": 1, "meta": {"request_id": "a", "lang": "en"}, "instances": [1, 2, 3]}
VOLATILE = ("/timestamp", "/meta/request_id")


def parse(document: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps(document).encode(), model="ocr"))


def usage(
    answer: Any, metering: dict[str, Any] | None = None, *, document: Any = DOCUMENT, size: int = 0
) -> Any:
    return DIALECT.usage(parse(document), answer, metering or {}, size)


class TestRequest:
    @pytest.mark.parametrize("document", [DOCUMENT, [1, {"a": None}], "text", 5, None, True, {}])
    def test_any_json_is_a_request(self, document: Any) -> None:
        request = parse(document)
        assert (request.model, request.stream) == ("ocr", False)
        assert DIALECT.upstream_call(request, "ocr-v4") == UpstreamCall(
            "",
            json.dumps(document, separators=(",", ":")).encode(),
            (JSON,),
        )

    @pytest.mark.parametrize("body", [b"", b"{", b"image=1", b"\xff", b"[" * 100_000])
    def test_all_else_is_not(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest) as refused:
            DIALECT.parse(Incoming(body, model="ocr"))
        assert refused.value.code == "invalid_json"

    @pytest.mark.parametrize("model", [""])
    def test_the_path_names_the_model(self, model: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            DIALECT.parse(Incoming(b"{}", model=model))
        assert (refused.value.code, refused.value.param) == ("missing_field", "model")

    def test_every_field_is_in_the_key_but_the_volatile_ones(self) -> None:
        again = {
            "timestamp": 2,
            "instances": [1, 2, 3],
            "meta": {"lang": "en", "request_id": "b"},
            "image": IMAGE,
        }
        assert DIALECT.canonical(parse(again), VOLATILE) == DIALECT.canonical(parse(DOCUMENT), VOLATILE)
        assert DIALECT.canonical(parse(again), ()) != DIALECT.canonical(parse(DOCUMENT), ())

    @pytest.mark.parametrize("name", ["model", "stream", "user", "metadata", "store", "anything"])
    def test_no_name_is_special(self, name: str) -> None:
        one, other = ({**DOCUMENT, name: value} for value in (1, 2))
        assert DIALECT.canonical(parse(one), VOLATILE) != DIALECT.canonical(parse(other), VOLATILE)

    def test_it_is_cacheable_and_never_a_stream(self) -> None:
        assert DIALECT.cacheable(parse({"stream": True}))
        with pytest.raises(TypeError):
            DIALECT.stream_reader(parse({}))
        with pytest.raises(TypeError):
            list(PredictDialect().replay(parse({}), b"{}"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"text": "Total 5.00"}, True),
        ([], True),
        ("text", True),
        ({"error": None, "err_no": 0, "errorCode": 0}, True),
        ({"error": "CUDA out of memory"}, False),
        ({"err_no": 5000, "err_msg": "failed", "key": [], "value": []}, False),
        ({"errorCode": 500, "errorMsg": "Internal"}, False),
    ],
)
def test_an_answer_names_no_failure(answer: Any, expected: bool) -> None:
    assert DIALECT.is_answer(parse({}), answer) is expected


class TestUsage:
    @pytest.mark.parametrize(
        ("reported", "pools"),
        [
            ({"input_tokens": 5, "output_tokens": 7}, TokenPools(input=5, output=7)),
            ({"input_tokens": 5}, TokenPools(input=5)),
            ({"output_tokens": 7, "pages": 1}, TokenPools(output=7)),
            ({"input_tokens": 0, "output_tokens": 0}, TokenPools()),
            ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, TokenPools(input=5, output=7)),
            ({"prompt_tokens": 5, "total_tokens": 5}, TokenPools(input=5)),
            (
                {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 9},
                TokenPools(input=5, cache_read=9, output=7),
            ),
        ],
    )
    def test_the_usage_object_is_read_by_default(self, reported: dict[str, Any], pools: TokenPools) -> None:
        assert usage({"usage": reported}) == UsageReport(pools)

    @pytest.mark.parametrize(
        "answer", [{}, [], "x", None, {"usage": None}, {"usage": 5}, {"usage": {"pages": 2}}]
    )
    def test_no_report(self, answer: Any) -> None:
        assert usage(answer) is None

    @pytest.mark.parametrize(
        "reported", [{"input_tokens": -1}, {"input_tokens": 1.5}, {"output_tokens": True}]
    )
    def test_a_report_that_makes_no_sense(self, reported: dict[str, Any]) -> None:
        with pytest.raises(UsageMismatch):
            usage({"usage": reported})


class TestMeteringRule:
    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ({"units": {"pointer": "/usage/pages"}}, UsageReport(units=2)),
            ({"units": {"per_call": 1}}, UsageReport(units=1)),
            ({"units": {"per_item": "/instances"}}, UsageReport(units=3)),
            ({"units": {"per_kib": 1}}, UsageReport(units=3)),
            (
                {"input": {"per_kib": 10}, "output": {"pointer": "/usage/output_tokens"}},
                UsageReport(TokenPools(30, output=7)),
            ),
        ],
    )
    def test_it_counts_in_place_of_the_report(self, rule: dict[str, Any], expected: UsageReport) -> None:
        answer = {"usage": {"pages": 2, "input_tokens": 5, "output_tokens": 7}}
        assert usage(answer, rule, size=2049) == expected

    @settings(deadline=None)
    @given(st.integers(0, 20 * 2**20))
    def test_a_begun_kib_counts(self, size: int) -> None:
        units = usage({}, {"units": {"per_kib": 1}}, size=size).units
        assert (units - 1) * 1024 < size <= units * 1024 or size == units == 0

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            (
                {"units": {"pointer": "/usage/pages"}},
                "units is read at /usage/pages, and the answer has nothing there",
            ),
            ({"units": {"pointer": "/text"}}, "/text is 'x', not an integer"),
            ({"units": {"pointer": "/minus"}}, "/minus is -2, not between 0"),
            ({"units": {"per_item": "/rows"}}, "units is read at /rows, and the request has nothing there"),
            ({"units": {"per_item": "/image"}}, "units counts the items at /image, which is no list"),
            ({"pages": {"per_call": 1}}, "there is no .pages."),
        ],
    )
    def test_what_it_cannot_count_is_suspect(self, rule: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageMismatch, match=message):
            usage({"text": "x", "minus": -2}, rule)


class TestEstimate:
    def test_it_is_a_quarter_of_the_bytes(self) -> None:
        assert DIALECT.estimate(parse({"a": "é"}), {"text": "xy"}).pools == TokenPools(input=3, output=4)

    def test_space_in_the_body_does_not_count(self) -> None:
        spaced = DIALECT.parse(Incoming(json.dumps(DOCUMENT, indent=8).encode(), model="ocr"))
        assert DIALECT.estimate(spaced, None) == DIALECT.estimate(parse(DOCUMENT), None)


def test_errors_have_openais_shape() -> None:
    body = DIALECT.error(status=504, code="upstream_timeout", message="Too slow.", param=None)
    assert msgspec.json.decode(body)["error"] == {
        "message": "Too slow.",
        "type": "server_error",
        "param": None,
        "code": "upstream_timeout",
    }
