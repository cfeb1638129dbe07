"""Every surface under requests that make no sense: a clear refusal or an answer, never a 500."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cacheproxy.gateway.fuzz.live import Live, check_clear, problem_of
from tests.cacheproxy.gateway.fuzz.samples import FORM, SAMPLES, Sample
from tests.faults.client import parsed

pytestmark = pytest.mark.django_db
"""So that there is a test database; the tests look at it by themselves."""

LIVE = settings.get_profile("live")
CHAT = SAMPLES["/v1/chat/completions"]
EVERY_SURFACE = pytest.mark.parametrize("sample", SAMPLES.values(), ids=list(SAMPLES))
RAW = st.sampled_from(
    [
        b"1e999",
        b"-1e999",
        b"NaN",
        b"Infinity",
        b"9" * 400,
        b"-0",
        b'"\\ud800"',
        b'"\\u0000"',
        b"[" * 600 + b"]" * 600,
        b"[" * 100_000,
        b'{"a":' * 600 + b"1" + b"}" * 600,
        b"\xff\xfe",
        b'"\xc3"',
        b'"\xed\xa0\x80"',
        b"",
        b"nul",
        b'"data:image/png;base64,%%%"',
        b'{"__proto__":1}',
        b'"\r\nx-evil: 1"',
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
VALUES = st.one_of(JSON.map(lambda value: json.dumps(value).encode()), RAW)
HOLE = "\ue000hole\ue000"


def places(document: Any) -> list[tuple[Any, ...]]:
    """Return the way to every field of a document, however deep."""
    fields = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    return [(name, *rest) for name, value in fields for rest in [(), *places(value)]]


def spoilt(document: Any, place: tuple[Any, ...], value: bytes) -> bytes:
    """Return the document as JSON with *value* in one place."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = HOLE
    return json.dumps(copy).encode().replace(json.dumps(HOLE).encode(), value)


@EVERY_SURFACE
def test_the_sample_is_a_good_one(gateway: Live, sample: Sample) -> None:
    answered = gateway.post(sample.path, json.dumps(sample.request).encode())
    assert answered.status == 200, answered
    assert answered.headers["cache-status"].startswith("zerorate; fwd=")


@EVERY_SURFACE
@given(data=st.data())
@settings(LIVE)
def test_a_field_of_another_type(gateway: Live, sample: Sample, data: st.DataObject) -> None:
    gateway.upstream_answers()
    place = data.draw(st.sampled_from(places(sample.request)))
    check_clear(sample, gateway.post(sample.path, spoilt(sample.request, place, data.draw(VALUES))))


@EVERY_SURFACE
@given(data=st.data())
@settings(LIVE, max_examples=60)
def test_bytes_that_are_no_request(gateway: Live, sample: Sample, data: st.DataObject) -> None:
    gateway.upstream_answers()
    body = json.dumps(sample.request).encode()
    kind = data.draw(st.sampled_from(["cut", "broken", "doubled", "binary", "json"]))
    at = data.draw(st.integers(0, len(body) - 1))
    if kind == "cut":
        body = body[:at]
    elif kind == "broken":
        body = body[:at] + data.draw(st.binary(min_size=1, max_size=3)) + body[at:]
    elif kind == "doubled":
        body = body[:-1] + b"," + body[1:-1] + b',"model":' + data.draw(VALUES) + b"}"
    else:
        body = data.draw(st.binary(max_size=200)) if kind == "binary" else data.draw(VALUES)
    check_clear(sample, gateway.post(sample.path, body))


@EVERY_SURFACE
@given(
    content_type=st.sampled_from(
        [
            "",
            "text/plain",
            "application/octet-stream",
            "multipart/form-data",
            "multipart/form-data; boundary=b",
            'multipart/form-data; boundary="',
            "multipart/form-data; boundary=" + "x" * 999,
            "image/png",
            "application/json; charset=utf-16",
        ]
    ),
    body=st.binary(max_size=60)
    | st.builds(
        lambda at, part: FORM[:at] + part + FORM[at:], st.integers(0, len(FORM)), st.binary(max_size=8)
    ),
    length=st.sampled_from(["0", "1", "-1", "99999999999999999999", "x"]),
)
@settings(LIVE, max_examples=40)
def test_content_types_and_forms(
    gateway: Live, sample: Sample, content_type: str, body: bytes, length: str
) -> None:
    gateway.upstream_answers()
    headers = {"content-type": content_type, "inference-header-content-length": length}
    for path in (sample.path, "/v1/audio/transcriptions", "/v1/audio/translations"):
        check_clear(CHAT if "audio" in path else sample, gateway.post(path, body, headers))


EVIL = "%0d%0ax-evil:%201"


@given(
    name=st.sampled_from(
        [
            "cache-control",
            "idempotency-key",
            "x-zerorate-session",
            "anthropic-version",
            "anthropic-beta",
            "user-agent",
            "x-forwarded-for",
            "helicone-cache-enabled",
            "cf-aig-cache-ttl",
            "x-portkey-cache-force-refresh",
            "x-openrouter-cache",
            "authorization",
            "x-api-key",
            "traceparent",
            "accept",
            "content-language",
        ]
    ),
    value=st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=300
    )
    | st.sampled_from(
        [
            "max-age=99999999999999999999",
            "max-age=-1",
            "max-age=x",
            "no-cache,,;=",
            EVIL,
            "x" * 9000,
            "ttl=" + "9" * 400,
        ]
    ),
)
@settings(LIVE, max_examples=300)
def test_headers_of_any_content(gateway: Live, name: str, value: str) -> None:
    gateway.upstream_answers()
    said = gateway.post(CHAT.path, json.dumps(CHAT.request).encode(), {name: value})
    check_clear(CHAT, said)
    assert "x-evil" not in said.headers


@pytest.mark.parametrize(
    ("path", "sample"),
    [
        (f"/v1/predict/{EVIL}", CHAT),
        (f"/v1/{EVIL}", CHAT),
        (f"/v2/models/{EVIL}/infer", SAMPLES["/v2/models/iris/infer"]),
        (f"/v2/models/iris/versions/{EVIL}/infer", SAMPLES["/v2/models/iris/infer"]),
        ("/v1/predict/%00", CHAT),
        ("/v1/predict/%ff%fe", CHAT),
        ("/v1/predict/" + "a" * 9000, CHAT),
        ("/v1/predict/../../etc/passwd", CHAT),
    ],
)
def test_what_a_path_says_is_in_no_header(gateway: Live, path: str, sample: Sample) -> None:
    refused = gateway.post(path, json.dumps(SAMPLES["/v2/models/iris/infer"].request).encode())
    check_clear(sample, refused)
    assert 400 <= refused.status < 500 or "versions" in path, "versions are the upstream's business"
    assert "x-evil" not in refused.headers


@pytest.mark.parametrize("field", ["model", "id"])
def test_what_a_body_says_is_in_no_header(gateway: Live, field: str) -> None:
    sample = SAMPLES["/v2/models/iris/infer"] if field == "id" else CHAT
    said = gateway.post(sample.path, json.dumps({**sample.request, field: "a\r\nx-evil: 1\r\n\r\n"}).encode())
    check_clear(sample, said)
    assert "x-evil" not in said.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "PROPFIND"])
@pytest.mark.parametrize("path", [*SAMPLES, "/v1/nothing", "/v2/nothing"])
def test_other_methods_and_paths(gateway: Live, method: str, path: str) -> None:
    fields = f"host: x\r\nauthorization: Bearer {gateway.key}\r\nconnection: close\r\n\r\n"
    raw = gateway.raw(f"{method} {path} HTTP/1.1\r\n{fields}".encode())
    if method == "HEAD":
        assert raw.startswith(b"HTTP/1.1 40")
        return
    refused = parsed(raw)
    assert refused.status == (404 if "nothing" in path else 405)
    assert ("allow" in refused.headers) is (refused.status == 405)
    check_clear(
        SAMPLES.get(path, SAMPLES["/v2/models/iris/infer"] if path.startswith("/v2") else CHAT), refused
    )


def test_a_model_that_is_not_there_is_named(gateway: Live) -> None:
    for sample in SAMPLES.values():
        if "model" in sample.request:
            refused = gateway.post(sample.path, json.dumps({**sample.request, "model": "nobody"}).encode())
            assert refused.status == 404
            assert problem_of(sample, refused).param == "model"
