"""Upstreams that answer anything at all: passed on or refused clearly, and nothing is held on to."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cacheproxy.gateway.fuzz.live import Live, check_clear, problem_of
from tests.cacheproxy.gateway.fuzz.samples import SAMPLES, SSE, Sample
from tests.cacheproxy.gateway.fuzz.test_requests import EVERY_SURFACE, VALUES, places, spoilt
from tests.cacheproxy.gateway.test_streaming import DONE, text_of
from tests.fakes.upstream import chat_events, drop, endless, raw_answer, raw_head, stream, trickle
from tests.faults.client import Seen

pytestmark = pytest.mark.django_db
"""So that there is a test database; the tests look at it by themselves."""

LIVE = settings.get_profile("live")
CHAT = SAMPLES["/v1/chat/completions"]
STREAM = b"".join(chat_events())
GOOD = raw_head(200, content_type="application/json", content_length="500") + b'{"choices": ['


def asked(gateway: Live, sample: Sample, **changes: Any) -> Seen:
    """Ask what was never asked before."""
    number = f"never asked {gateway.unheard_of()}"
    document = {**sample.request, **changes}
    if sample.protocol == "oip":
        document["parameters"] = {"p": number}
    elif sample.protocol == "predict":
        document["items"] = [{"text": number}]
    else:
        document["seed_of_the_test"] = number
    return gateway.post(sample.path, json.dumps(document).encode())


def check_5xx(sample: Sample, seen: Seen) -> None:
    check_clear(sample, seen)
    assert seen.status in {502, 503, 504}
    assert problem_of(sample, seen).code.startswith("upstream_")
    assert "x-zerorate-cost" not in seen.headers


@EVERY_SURFACE
@given(data=st.data())
@settings(LIVE, max_examples=100)
def test_an_answer_with_a_field_of_another_type(gateway: Live, sample: Sample, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(places(sample.answer)))
    body = spoilt(sample.answer, place, data.draw(VALUES))
    gateway.upstream_answers(raw_answer(body, headers={"content-type": "application/json"}))
    check_clear(sample, asked(gateway, sample))


@EVERY_SURFACE
@given(
    body=st.binary(max_size=80) | VALUES,
    kind=st.sampled_from(
        ["application/json", "text/html", "text/event-stream", "", "image/png", "multipart/form-data"]
    ),
    status=st.sampled_from([200, 201, 204, 206, 400, 404, 429, 500, 503, 529, 599]),
)
@settings(LIVE, max_examples=60)
def test_any_body_with_any_type_and_status(
    gateway: Live, sample: Sample, body: bytes, kind: str, status: int
) -> None:
    gateway.upstream_answers(raw_answer(body, status=status, headers={"content-type": kind}))
    said = asked(gateway, sample)
    if status >= 400:
        assert said.status == status
        json.loads(said.body)
    else:
        check_clear(sample, said)


@given(
    raw=st.binary(min_size=1, max_size=200)
    | st.builds(lambda at, part: GOOD[:at] + part, st.integers(0, 99), st.binary(max_size=40))
)
@settings(LIVE, max_examples=200)
def test_random_bytes_for_an_answer(gateway: Live, raw: bytes) -> None:
    gateway.upstream_answers(drop(raw))
    check_5xx(CHAT, asked(gateway, CHAT))


@pytest.mark.parametrize(
    "status", ["99", "100", "101", "199", "301", "304", "600", "999", "2000", "-1", "abc"]
)
def test_statuses_that_are_no_answer(gateway: Live, status: str) -> None:
    gateway.upstream_answers(drop(f"HTTP/1.1 {status} Odd\r\ncontent-length: 2\r\n\r\n{{}}".encode()))
    check_5xx(CHAT, asked(gateway, CHAT))


@pytest.mark.parametrize(
    "lines",
    [
        b"x-a: " + b"a" * 100_000,
        b"\r\n".join(b"x-%d: a" % number for number in range(20_000)),
        b"content-length: 5\r\ncontent-length: 6",
        b"content-length: 5\r\ntransfer-encoding: chunked",
        b"content-length: -1",
        b"transfer-encoding: gzip",
        b"content-encoding: gzip",
        b"retry-after: " + b"9" * 400,
        b"retry-after: a\r\n x-evil: 1",
        b"content-language: a\x00b",
        b"content-language: a\rx-evil: 1",
        b"content-language: \xff\xfe",
        b"content-type: text/event-stream; charset=utf-16",
        b"connection: upgrade\r\nupgrade: h2c",
    ],
)
def test_heads_of_any_content(gateway: Live, lines: bytes) -> None:
    body = json.dumps(CHAT.answer).encode()
    for status in (b"200 OK", b"429 Slow"):
        framed = lines + (b"" if b"content-length" in lines else b"\r\ncontent-length: %d" % len(body))
        gateway.upstream_answers(drop(b"HTTP/1.1 " + status + b"\r\n" + framed + b"\r\n\r\n" + body))
        said = asked(gateway, CHAT)
        assert said.status in {200, 429, 502, 504}
        assert "x-evil" not in said.headers
        if said.status == 502:
            check_5xx(CHAT, said)


@given(cuts=st.lists(st.integers(1, len(STREAM) - 1), max_size=6))
@settings(LIVE, max_examples=60)
def test_a_stream_cut_anywhere(gateway: Live, cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(STREAM)]
    parts = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    gateway.upstream_answers(stream(*parts, pause_seconds=0.002))
    check_streamed(asked(gateway, CHAT, stream=True))


def test_a_stream_byte_by_byte(gateway: Live) -> None:
    gateway.upstream_answers(
        trickle(raw_head(200, content_type=SSE, content_length=str(len(STREAM))) + STREAM, pause_seconds=0)
    )
    check_streamed(asked(gateway, CHAT, stream=True))


def check_streamed(seen: Seen) -> None:
    assert seen.status == 200
    assert text_of(seen.body) == "Hello there."
    assert seen.body.endswith(DONE)
    assert seen.body == STREAM


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
@given(
    parts=st.lists(
        st.binary(max_size=30) | VALUES.map(lambda value: b"data: " + value + b"\n\n"), min_size=1, max_size=5
    )
)
@settings(LIVE, max_examples=60)
def test_streams_of_nonsense(gateway: Live, path: str, parts: list[bytes]) -> None:
    sample = SAMPLES[path]
    gateway.upstream_answers(stream(*filter(None, parts)))
    seen = asked(gateway, sample, stream=True)
    if seen.headers["content-type"].startswith(SSE):
        assert b"upstream_broken" in seen.body, "a stream that did not end well says so"
    else:
        check_5xx(sample, seen)


@pytest.mark.parametrize("part", [chat_events()[1], b"data: " + b"x" * 65536, b": ping\n\n" * 1000])
def test_an_endless_stream_is_cut_off_by_its_size(gateway: Live, part: bytes) -> None:
    gateway.upstream_answers(endless(part))
    seen = asked(gateway, CHAT, stream=True)
    assert b"upstream_broken" in seen.body
    assert len(seen.body) < 3 << 20


def test_an_endless_stream_is_cut_off_by_its_time(gateway: Live) -> None:
    gateway.upstream_answers(endless(chat_events()[1], pause_seconds=0.2))
    seen = asked(gateway, CHAT, stream=True)
    assert b"upstream_timeout" in seen.body


def test_an_endless_plain_answer_is_cut_off(gateway: Live) -> None:
    gateway.upstream_answers(drop(raw_head(200, content_type="application/json") + b" " * (5 << 20)))
    check_5xx(CHAT, asked(gateway, CHAT))
