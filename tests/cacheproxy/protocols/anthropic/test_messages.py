import json
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest
from anthropic.types.shared.error_response import ErrorResponse
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cacheproxy.protocols import sse
from cacheproxy.protocols.anthropic.messages import DIALECT
from cacheproxy.protocols.request import JSON, Incoming, InvalidRequest
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools
from tests.cacheproxy.protocols.anthropic.drawn import ANSWERS, BODY, STREAMS, leaves, parse, read, texts

QUICK = settings(deadline=None, max_examples=60)
VERSION = {b"anthropic-version": b"2023-06-01"}
parameters = st.dictionaries(
    st.sampled_from(["temperature", "top_k", "tools", "system", "vendor_extra", "service_tier"]), leaves
)


def canonical(headers: dict[bytes, bytes] | None = None, *volatile: str, **fields: Any) -> bytes:
    return DIALECT.canonical(parse(headers, **fields), volatile)


class TestParse:
    def test_model_stream_and_headers(self) -> None:
        given = {**VERSION, b"anthropic-beta": b"a,b", b"x-api-key": b"zr_live_1", b"user-agent": b"x"}
        request = parse(given, stream=True)
        assert (request.model, request.stream, request.document["max_tokens"]) == ("claude", True, 64)
        assert request.headers == ((b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"a,b"))
        assert not parse().stream

    @pytest.mark.parametrize(
        ("body", "code", "param"),
        [
            (b"[]", "invalid_json", None),
            (b'{"model": "m", "messages": [{}], "x": NaN}', "invalid_json", None),
            (b'{"model": "\xff"}', "invalid_json", None),
            (b"[" * 100_000, "invalid_json", None),
            (b'{"messages": [{}]}', "missing_field", "model"),
            (b'{"model": ["m"], "messages": [{}]}', "invalid_field", "model"),
            (b'{"model": "m"}', "missing_field", "messages"),
            (b'{"model": "m", "messages": "Hi"}', "invalid_field", "messages"),
            (b'{"model": "m", "messages": [{}], "stream": "yes"}', "invalid_field", "stream"),
        ],
    )
    def test_what_cannot_be_understood(self, body: bytes, code: str, param: str | None) -> None:
        with pytest.raises(InvalidRequest) as refused:
            DIALECT.parse(Incoming(body))
        assert (refused.value.code, refused.value.param) == (code, param)

    @QUICK
    @given(st.binary(max_size=60))
    def test_whatever_comes_is_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest):
            DIALECT.parse(Incoming(body))


class TestCanonical:
    @QUICK
    @given(parameters, st.sampled_from([None, 1]), st.booleans())
    def test_order_and_space_and_escapes_mean_nothing(
        self, fields: dict[str, Any], indent: Any, ensure_ascii: bool
    ) -> None:
        turned = dict(reversed({**BODY, **fields}.items()))
        body = json.dumps(turned, indent=indent, ensure_ascii=ensure_ascii).encode()
        assert DIALECT.canonical(DIALECT.parse(Incoming(body)), ()) == canonical(**fields)

    @QUICK
    @given(parameters, parameters)
    def test_two_requests_share_a_spelling_only_if_they_are_the_same(
        self, one: dict[str, Any], other: dict[str, Any]
    ) -> None:
        same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        assert (canonical(**one) == canonical(**other)) == same

    @QUICK
    @given(texts, leaves)
    def test_any_parameter_known_or_not_changes_it(self, name: str, value: Any) -> None:
        assume(name not in {*BODY, "stream", "metadata"})
        assert DIALECT.canonical(DIALECT.parse(Incoming(msgspec.json.encode({**BODY, name: value}))), ()) != (
            canonical()
        )

    @pytest.mark.parametrize("fields", [{"stream": True}, {"metadata": {"user_id": "u"}}, {"model": "other"}])
    def test_what_decides_no_answer_does_not_change_it(self, fields: dict[str, Any]) -> None:
        assert canonical(**fields) == canonical()

    def test_version_and_betas_change_it(self) -> None:
        assert canonical(VERSION) != canonical()
        assert canonical(VERSION) != canonical({b"anthropic-version": b"2024-01-01"})
        assert canonical(VERSION | {b"anthropic-beta": b"a"}) != canonical(VERSION)
        assert canonical({b"anthropic-beta": b"2023-06-01"}) != canonical(VERSION)

    @pytest.mark.parametrize("betas", [b"b,a", b"a,b", b" b ,, a, ", b"a,b,a"])
    def test_but_not_the_betas_order(self, betas: bytes) -> None:
        assert canonical({b"anthropic-beta": betas}) == canonical({b"anthropic-beta": b"a,b"})

    def test_headers_that_decide_nothing_do_not(self) -> None:
        assert canonical({b"user-agent": b"x", b"x-api-key": b"y"}) == canonical()

    def test_volatile_fields_do_not(self) -> None:
        assert canonical(None, "/trace", trace=1) == canonical(None, "/trace", trace=2) == canonical()


def test_it_goes_upstream_with_every_field_and_header() -> None:
    call = DIALECT.upstream_call(parse(VERSION, top_k=5, x_unknown={"a": 2**70}), "claude-sonnet-4-5")
    assert (call.path, call.headers) == ("/v1/messages", (JSON, *VERSION.items()))
    assert msgspec.json.decode(call.body) == {
        **BODY,
        "model": "claude-sonnet-4-5",
        "top_k": 5,
        "x_unknown": {"a": 2**70},
    }


class TestCacheable:
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"tools": [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"}]},
            {"tools": [{"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728"}]},
            {"tools": None, "container": None, "mcp_servers": []},
            {"thinking": {"type": "adaptive"}, "temperature": 1.0},
        ],
    )
    def test_what_depends_on_the_request_alone(self, fields: dict[str, Any]) -> None:
        assert DIALECT.cacheable(parse(**fields))

    @pytest.mark.parametrize(
        "fields",
        [
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            {"tools": [{"name": "f"}, {"type": "web_fetch_20260318"}]},
            {"tools": [{"type": "code_execution_20250825"}]},
            {"tools": [{"type": "computer_20251124"}]},
            {"tools": [{"type": "computer_toolset_20260801"}]},
            {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]},
            {"tools": [{"type": "bash_20250124_remote"}]},
            {"tools": ["web_search"]},
            {"tools": {"type": "custom"}},
            {"tools": [{"type": ["custom"]}]},
            {"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]},
            {"container": "container_1"},
            {"thread": {"id": "thread_1"}},
            {"diagnostics": {"previous_message_id": "msg_1"}},
            {"fallback_credit_token": "x"},
            {"max_tokens": 0},
        ],
    )
    def test_what_does_not(self, fields: dict[str, Any]) -> None:
        assert not DIALECT.cacheable(parse(**fields))


@pytest.mark.parametrize(("given", "limit"), [(64, 64), ("64", None), (None, None), (True, None)])
def test_the_output_is_limited_to_max_tokens(given: Any, limit: int | None) -> None:
    assert DIALECT.output_limit(parse(max_tokens=given)) == limit


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"type": "error", "error": {"type": "api_error", "message": "no"}},
        {**ANSWERS["hello"], "stop_reason": None},
        {**ANSWERS["hello"], "stop_reason": 5},
        {**ANSWERS["hello"], "type": "completion"},
        {**ANSWERS["hello"], "content": "Hi"},
        {**ANSWERS["hello"], "content": ["Hi"]},
        ANSWERS["paused"],
    ],
)
def test_what_is_no_answer(answer: Any) -> None:
    assert not DIALECT.is_answer(parse(), answer)


class TestUsage:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("hello", UsageReport(TokenPools(input=25, output=15))),
            ("tools", UsageReport(TokenPools(input=472, output=89))),
            ("thinking", UsageReport(TokenPools(4, 1800, 148, 100, 60), output_reasoning=50)),
            ("search", UsageReport(TokenPools(input=10682, output=510))),
            ("forgetful", UsageReport(TokenPools(20, 80, 10, output=7))),
            ("paused", UsageReport(TokenPools(input=2679, output=40))),
        ],
    )
    def test_start_and_end_of_a_stream_make_one_report(self, name: str, expected: UsageReport) -> None:
        assert DIALECT.usage(parse(), read(STREAMS[name]).so_far(), {}, 0) == expected

    def test_the_metering_rule_takes_its_place(self) -> None:
        rule = {"units": {"per_call": 2}}
        assert DIALECT.usage(parse(), ANSWERS["hello"], rule, 0) == UsageReport(units=2)

    @pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 0, "output_tokens": 0}])
    def test_no_report(self, usage: Any) -> None:
        assert DIALECT.usage(parse(), {**ANSWERS["hello"], "usage": usage}, {}, 0) is None
        assert DIALECT.usage(parse(), {}, {}, 0) is None
        assert DIALECT.usage(parse(), [], {}, 0) is None

    @pytest.mark.parametrize("usage", ["12", {"input_tokens": 3}, {"input_tokens": -3, "output_tokens": 1}])
    def test_a_report_that_makes_no_sense(self, usage: Any) -> None:
        with pytest.raises(UsageMismatch):
            DIALECT.usage(parse(), {**ANSWERS["hello"], "usage": usage}, {}, 0)


class TestEstimate:
    def test_a_message_counts_its_text(self) -> None:
        content = [
            {"type": "thinking", "thinking": "12345", "signature": "S" * 400},
            {"type": "text", "text": "123456789"},
            {"type": "tool_use", "id": "toolu_1", "name": "ab", "input": {"c": "d"}},
        ]
        request = parse(messages=[{"role": "user", "content": "12345678"}], system="é")
        report = DIALECT.estimate(request, {"content": content})
        assert report == UsageReport(TokenPools(input=3, output=5), output_reasoning=2)
        assert DIALECT.estimate(request, None) == UsageReport(TokenPools(input=3))

    def test_a_stream_cut_short_keeps_what_its_start_said_of_the_input(self) -> None:
        """Its output of 1 is no report: that would bill next to nothing for all that was streamed."""
        stream = STREAMS["thinking"][: STREAMS["thinking"].index(b"event: message_delta")]
        so_far = read(stream).so_far()
        assert DIALECT.usage(parse(), so_far, {}, 0) is None
        assert DIALECT.estimate(parse(), so_far).pools == TokenPools(4, 1800, 148, 100, output=7)

    def test_a_start_that_makes_no_sense_is_not_relied_on(self) -> None:
        answer = {"content": [], "usage": {"input_tokens": -5, "output_tokens": 1}}
        assert DIALECT.estimate(parse(), answer).pools == DIALECT.estimate(parse(), None).pools

    @QUICK
    @given(leaves, leaves)
    def test_whatever_was_said_can_be_estimated(self, given: Any, answered: Any) -> None:
        for answer in (answered, {"content": answered}, {"content": [answered]}, {"usage": answered}):
            report = DIALECT.estimate(parse(messages=[given]), answer)
            assert 0 <= report.output_reasoning <= report.pools.output


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind", "raised"),
        [
            (400, "invalid_request_error", anthropic.BadRequestError),
            (401, "authentication_error", anthropic.AuthenticationError),
            (402, "billing_error", anthropic.APIStatusError),
            (403, "permission_error", anthropic.PermissionDeniedError),
            (404, "not_found_error", anthropic.NotFoundError),
            (405, "invalid_request_error", anthropic.APIStatusError),
            (409, "conflict_error", anthropic.ConflictError),
            (413, "request_too_large", anthropic.APIStatusError),
            (429, "rate_limit_error", anthropic.RateLimitError),
            (500, "api_error", anthropic.InternalServerError),
            (502, "api_error", anthropic.InternalServerError),
            (503, "overloaded_error", anthropic.InternalServerError),
            (504, "timeout_error", anthropic.InternalServerError),
        ],
    )
    def test_anthropics_own_client_reads_type_code_and_field(
        self, status: int, kind: str, raised: type[anthropic.APIStatusError]
    ) -> None:
        body = DIALECT.error(status=status, code="some_code", message='Not "good".', param="messages")
        transport = httpx2.MockTransport(
            lambda _: httpx2.Response(status, content=body, headers=dict([JSON]))
        )
        with (
            httpx2.Client(transport=transport) as http,
            anthropic.Anthropic(
                api_key="k", base_url="http://claude", http_client=http, max_retries=0
            ) as client,
            pytest.raises(raised) as refused,
        ):
            client.messages.create(**BODY)  # type: ignore[call-overload]
        error = refused.value
        assert (error.type, error.error_code, error.api_message) == (kind, "some_code", 'Not "good".')
        assert error.body["error"]["details"]["param"] == "messages"  # type: ignore[index]

    def test_an_error_inside_a_stream(self) -> None:
        failure = DIALECT.stream_error(status=504, code="upstream_timeout", message="Too slow.")
        name, data = sse.fields(failure)
        error = ErrorResponse.model_validate_json(data).error
        assert (name, error.type, error.message) == (b"error", "timeout_error", "Too slow.")
