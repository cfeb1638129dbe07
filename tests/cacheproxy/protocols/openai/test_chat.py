import json
from typing import Any

import msgspec
import openai.types
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.openai.chat import DIALECT, ChatDialect
from cacheproxy.protocols.openai.fields import OUT_OF_KEY
from cacheproxy.protocols.request import Incoming, InferenceRequest, InvalidRequest
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools
from tests.cacheproxy.protocols.streams import ANSWERS, chat

QUICK = settings(deadline=None, max_examples=50)
BODY: dict[str, Any] = {"model": "qwen-small", "messages": [{"role": "user", "content": "Hello"}]}


def parse(fields: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps(fields).encode()))


def canonical(fields: Any, *volatile: str) -> bytes:
    return DIALECT.canonical(parse(fields), volatile)


class TestParse:
    def test_a_chat(self) -> None:
        request = parse({**BODY, "stream": True, "stream_options": {"include_usage": True}, "top_k": 5})
        assert request.model == "qwen-small"
        assert (request.stream, request.wants_usage) == (True, True)
        assert request.document["top_k"] == 5

    @pytest.mark.parametrize("fields", [{}, {"stream": False}, {"stream": None, "stream_options": None}])
    def test_a_chat_is_plain_unless_it_says_otherwise(self, fields: dict[str, Any]) -> None:
        request = parse({**BODY, **fields})
        assert (request.stream, request.wants_usage) == (False, False)

    @pytest.mark.parametrize(
        ("body", "code", "param", "message"),
        [
            (b"", "invalid_json", None, "The body is not valid JSON"),
            (b"{", "invalid_json", None, "The body is not valid JSON"),
            (b"[]", "invalid_json", None, "The body must be a JSON object."),
            (b'{"model": "\xff"}', "invalid_json", None, "The body is not valid JSON"),
            (b'{"model": "\\ud800"}', "invalid_json", None, "The body is not valid JSON"),
            (b'{"n": 1e999}', "invalid_json", None, "The body is not valid JSON"),
            (b'{"n": NaN}', "invalid_json", None, "The body is not valid JSON"),
            (b'{"a":' * 100_000, "invalid_json", None, "The body is nested too deeply."),
            (b'{"messages": []}', "missing_field", "model", "model is required."),
            (b'{"model": null}', "missing_field", "model", "model is required."),
            (b'{"model": 5}', "invalid_field", "model", "model must be a non-empty string."),
            (b'{"model": ""}', "invalid_field", "model", "model must be a non-empty string."),
            (b'{"model": "m"}', "missing_field", "messages", "messages is required."),
            (
                b'{"model": "m", "messages": []}',
                "invalid_field",
                "messages",
                "messages must be a non-empty list.",
            ),
            (
                b'{"model": "m", "messages": {}}',
                "invalid_field",
                "messages",
                "messages must be a non-empty list.",
            ),
            (
                b'{"model": "m", "messages": [{}], "stream": "true"}',
                "invalid_field",
                "stream",
                "stream must be true or false.",
            ),
            (
                b'{"model": "m", "messages": [{}], "stream_options": [1]}',
                "invalid_field",
                "stream_options",
                "stream_options must be an object.",
            ),
            (
                b'{"model": "m", "messages": [{}], "stream_options": {"include_usage": 1}}',
                "invalid_field",
                "stream_options.include_usage",
                "stream_options.include_usage must be true or false.",
            ),
        ],
    )
    def test_what_cannot_be_understood(self, body: bytes, code: str, param: str | None, message: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            DIALECT.parse(Incoming(body))
        assert (refused.value.code, refused.value.param) == (code, param)
        assert refused.value.message.startswith(message)

    @QUICK
    @given(
        st.binary(max_size=60)
        | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
    )
    def test_whatever_comes_is_a_request_or_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest):
            DIALECT.parse(Incoming(body))


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
parameters = st.dictionaries(
    st.sampled_from(["temperature", "top_k", "seed", "tools", "n", "vendor_extra", "response_format"]), values
)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {field: shuffled(value[field]) for field in sorted(value, key=hash)}
    return [shuffled(inner) for inner in value] if isinstance(value, list) else value


class TestCanonical:
    @QUICK
    @given(parameters, st.sampled_from([None, 1, "\t"]), st.booleans())
    def test_order_and_space_and_escapes_mean_nothing(
        self, fields: dict[str, Any], indent: Any, ensure_ascii: bool
    ) -> None:
        fields = {**BODY, **fields}
        other = json.dumps(shuffled(fields), indent=indent, ensure_ascii=ensure_ascii).encode()
        assert DIALECT.canonical(DIALECT.parse(Incoming(other)), ()) == canonical(fields)

    @QUICK
    @given(parameters, parameters)
    def test_two_requests_share_a_spelling_only_if_they_are_the_same(
        self, one: dict[str, Any], other: dict[str, Any]
    ) -> None:
        same_json = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        assert (canonical({**BODY, **one}) == canonical({**BODY, **other})) == same_json

    @QUICK
    @given(parameters, texts, values)
    def test_any_parameter_known_or_not_changes_it(
        self, fields: dict[str, Any], name: str, value: Any
    ) -> None:
        assume(name not in {*OUT_OF_KEY, *BODY, *fields})
        assert canonical({**BODY, **fields, name: value}) != canonical({**BODY, **fields})

    @QUICK
    @given(parameters, st.sampled_from(sorted(OUT_OF_KEY - {"model", "stream", "stream_options"})), values)
    def test_what_decides_no_answer_does_not_change_it(
        self, fields: dict[str, Any], name: str, value: Any
    ) -> None:
        assert canonical({**BODY, **fields, name: value}) == canonical({**BODY, **fields})

    def test_a_stream_and_a_plain_answer_share_a_key(self) -> None:
        assert canonical({**BODY, "stream": True, "stream_options": {"include_usage": True}}) == canonical(
            BODY
        )

    def test_the_names_that_peers_confuse_are_in_it(self) -> None:
        one, two = {"top_k": 1}, {"top_k": 2}
        assert canonical({**BODY, **one}) != canonical({**BODY, **two})

    @QUICK
    @given(parameters, values)
    def test_volatile_fields_do_not_change_it(self, fields: dict[str, Any], value: Any) -> None:
        volatile = ("/messages/0/sent_at", "/trace")
        message = {**BODY["messages"][0], "sent_at": value}
        stamped = {**BODY, **fields, "messages": [message], "trace": value}
        assert canonical(stamped, *volatile) == canonical({**BODY, **fields}, *volatile)

    def test_a_volatile_field_stays_in_what_goes_upstream(self) -> None:
        request = parse({**BODY, "trace": 1})
        DIALECT.canonical(request, ["/trace"])
        assert msgspec.json.decode(DIALECT.upstream_call(request, "m").body)["trace"] == 1

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("1", "1.0"),
            ("0", "-0.0"),
            ("1", "true"),
            ("null", '"null"'),
            ("18446744073709551616", "18446744073709551617"),
            ("123456789012345678901234567890", "123456789012345678901234567891"),
            ('"é"', '"e\\u0301"'),  # composed and decomposed: other tokens
            ('"Straße"', '"STRASSE"'),
            ('"a"', '"A"'),
            ('"a "', '"a"'),
            ('"a\\r\\n"', '"a\\n"'),
            ('"ﬁ"', '"fi"'),
            ("[1, 2]", "[2, 1]"),
            ("{}", "[]"),
            ("{}", "null"),
        ],
    )
    def test_what_looks_alike_stays_apart(self, one: str, other: str) -> None:
        bodies = [f'{{"model":"m","messages":[1],"x":{value}}}' for value in (one, other)]
        first, second = (DIALECT.canonical(DIALECT.parse(Incoming(body.encode())), ()) for body in bodies)
        assert first != second

    def test_one_text_in_two_spellings_is_one(self) -> None:
        bodies = ['{"model":"m","messages":["é\\/"]}', '{"messages":["\\u00e9/"],"model":"other"}']
        first, second = (DIALECT.canonical(DIALECT.parse(Incoming(body.encode())), ()) for body in bodies)
        assert first == second == '{"messages":["é/"]}'.encode()


class TestUpstreamCall:
    def test_it_goes_to_the_surface_under_the_upstreams_name(self) -> None:
        call = DIALECT.upstream_call(parse({**BODY, "top_k": 5}), "Qwen1.5-0.5B")
        assert call.path == "/chat/completions"
        assert msgspec.json.decode(call.body) == {**BODY, "model": "Qwen1.5-0.5B", "top_k": 5}

    def test_a_stream_is_asked_for_its_usage(self) -> None:
        request = parse({**BODY, "stream": True, "stream_options": {"include_obfuscation": False}})
        assert msgspec.json.decode(DIALECT.upstream_call(request, "m").body)["stream_options"] == {
            "include_obfuscation": False,
            "include_usage": True,
        }

    @pytest.mark.parametrize("fields", [{}, {"stream": True, "stream_options": {"include_usage": True}}])
    def test_otherwise_nothing_changes(self, fields: dict[str, Any]) -> None:
        body = json.dumps({**BODY, **fields}, separators=(",", ":")).encode()
        assert DIALECT.upstream_call(DIALECT.parse(Incoming(body)), "qwen-small").body == body

    def test_of_a_repeated_field_only_the_understood_one_is_asked(self) -> None:
        """Parsers that keep the first would answer another question than the one keyed and metered."""
        body = b'{"model":"cheap","messages":["evil"],"messages":["good"],"model":"dear"}'
        request = DIALECT.parse(Incoming(body))
        assert DIALECT.upstream_call(request, request.model).body == b'{"model":"dear","messages":["good"]}'

    def test_numbers_beyond_64_bits_stay_exact(self) -> None:
        request = parse({**BODY, "seed": 123456789012345678901234567890})
        assert b"123456789012345678901234567890" in DIALECT.upstream_call(request, "m").body


class TestCacheable:
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"n": 3, "temperature": 1.5},
            {"store": False, "enable_search": False, "web_search_options": None},
            {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {}}]},
            {"tools": None},
        ],
    )
    def test_what_depends_on_the_request_alone(self, fields: dict[str, Any]) -> None:
        assert DIALECT.cacheable(parse({**BODY, **fields}))

    @pytest.mark.parametrize(
        "fields",
        [
            {"store": True},
            {"background": True},
            {"previous_response_id": "resp_1"},
            {"conversation": "conv_1"},
            {"web_search_options": {}},
            {"search_parameters": {"mode": "auto"}},
            {"enable_search": True},
            {"plugins": [{"id": "web"}]},
            {"tools": [{"type": "web_search"}]},
            {"tools": ["web"]},
        ],
    )
    def test_what_does_not(self, fields: dict[str, Any]) -> None:
        assert not DIALECT.cacheable(parse({**BODY, **fields}))


class TestIsAnswer:
    @pytest.mark.parametrize(
        "answer",
        [
            None,
            [],
            {},
            {"error": {"message": "no"}},
            {"choices": []},
            {"choices": None},
            {"choices": ["x"]},
            {"choices": [{"message": {}, "finish_reason": None}]},
            {"choices": [{"message": {}, "finish_reason": "error"}]},
            {"choices": [{"message": {}, "finish_reason": "stop"}, {"message": {}}]},
            {"choices": [{"finish_reason": "stop"}]},
            {"choices": [{"message": {}, "finish_reason": "stop"}], "error": {"message": "no"}},
        ],
    )
    def test_what_is_none(self, answer: Any) -> None:
        assert not DIALECT.is_answer(chat(), answer)


class TestUsage:
    @pytest.mark.parametrize(
        "usage",
        [
            None,
            {},
            {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            {"prompt_tokens": None},
            {"cost": 1},
        ],
    )
    def test_no_report(self, usage: Any) -> None:
        assert DIALECT.usage(chat(), {"usage": usage}, {}, 0) is None
        assert DIALECT.usage(chat(), {}, {}, 0) is None
        assert DIALECT.usage(chat(), [], {}, 0) is None

    @pytest.mark.parametrize("usage", ["12", 12, [12], {"prompt_tokens": 3}, {"prompt_tokens": "3"}])
    def test_a_report_that_makes_no_sense(self, usage: Any) -> None:
        with pytest.raises(UsageMismatch):
            DIALECT.usage(chat(), {"usage": usage}, {}, 0)


class TestEstimate:
    def test_a_chat_counts_its_text(self) -> None:
        request = chat(messages=[{"role": "system", "content": "12345678"}, {"role": "user", "content": "é"}])
        message = {
            "role": "assistant",
            "content": "123456789",
            "reasoning_content": "12345",
            "tool_calls": None,
        }
        report = DIALECT.estimate(request, {"choices": [{"message": message}]})
        assert report == UsageReport(TokenPools(input=3, output=4), output_reasoning=2)

    def test_images_do_not_count_as_text(self) -> None:
        parts = [
            {"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": "data:" + "A" * 10**6}},
        ]
        assert DIALECT.estimate(chat(messages=[{"role": "user", "content": parts}]), {}).pools == TokenPools(
            input=2
        )

    def test_tools_count_on_both_sides(self) -> None:
        tools = [{"type": "function", "function": {"name": "abcd", "description": "efgh"}}]
        calls = [{"id": "call_1", "type": "function", "function": {"name": "abcd", "arguments": "{}{}"}}]
        report = DIALECT.estimate(
            chat(messages=["1234"], tools=tools), {"choices": [{"message": {"tool_calls": calls}}]}
        )
        assert report.pools == TokenPools(input=3, output=2)

    @QUICK
    @given(values, values)
    def test_whatever_was_said_can_be_estimated(self, given: Any, answered: Any) -> None:
        answers = [
            answered,
            {"choices": answered},
            {"choices": [answered]},
            {"choices": [{"message": answered}]},
        ]
        for answer in answers:
            report = DIALECT.estimate(chat(messages=[given]), answer)
            assert 0 <= report.output_reasoning <= report.pools.output


def test_deep_nesting_never_breaks_more_than_the_request() -> None:
    body = b'{"model":"m","messages":[' + b"[" * 900 + b"]" * 900 + b"]}"
    request = DIALECT.parse(Incoming(body))
    assert DIALECT.canonical(request, ()).count(b"[") == 901
    assert DIALECT.estimate(request, {}).pools.input == 0

    def deeper(frames: int) -> bytes:
        return deeper(frames - 1) if frames else DIALECT.canonical(request, ())

    with pytest.raises(InvalidRequest, match="nested too deeply"):
        deeper(80)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (413, "invalid_request_error"),
        (502, "server_error"),
    ],
)
def test_errors_have_openais_shape(status: int, kind: str) -> None:
    body = DIALECT.error(status=status, code="some_code", message='Not "good".', param="messages")
    assert msgspec.json.decode(body) == {
        "error": {"message": 'Not "good".', "type": kind, "param": "messages", "code": "some_code"}
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_openais_own_client_reads_what_is_replayed(name: str) -> None:
    *chunks, _ = ChatDialect().replay(chat(wants_usage=True), msgspec.json.encode(ANSWERS[name]))
    for chunk in chunks:
        openai.types.chat.ChatCompletionChunk.model_validate_json(chunk.removeprefix(b"data: "))
    openai.types.chat.ChatCompletion.model_validate(ANSWERS[name])
