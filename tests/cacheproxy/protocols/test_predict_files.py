"""The `predict` protocol with forms, raw bytes, and answers that are not JSON."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.multipart import File, Form, read_form, write_form
from cacheproxy.protocols.predict import DIALECT
from cacheproxy.protocols.request import (
    JSON,
    Answer,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    UpstreamCall,
)
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import TokenPools

QUICK = settings(deadline=None, max_examples=60)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PIXEL = File("image", "a.png", "image/png", memoryview(PNG))


def raw(body: bytes = PNG, content_type: bytes = b"image/png") -> InferenceRequest:
    return DIALECT.parse(Incoming(body, {b"content-type": content_type}, model="ocr"))


def form(*fields: tuple[str, str], files: tuple[File, ...] = (PIXEL,)) -> InferenceRequest:
    header, body = write_form(Form(fields, files))
    return DIALECT.parse(Incoming(body, dict([header]), model="ocr"))


def canonical(request: InferenceRequest, *volatile: str) -> bytes:
    return DIALECT.canonical(request, volatile)


class TestRaw:
    @pytest.mark.parametrize(
        "content_type",
        [
            b"image/png",
            b"application/octet-stream",
            b"audio/wav",
            b"application/pdf",
            b"text/csv; charset=utf-8",
        ],
    )
    def test_it_goes_upstream_as_it_came(self, content_type: bytes) -> None:
        call = DIALECT.upstream_call(raw(content_type=content_type), "small")
        assert call == UpstreamCall("", PNG, ((b"content-type", content_type),))

    @pytest.mark.parametrize(
        "content_type",
        [
            b"application/json",
            b"Application/JSON; charset=utf-8",
            b"text/json",
            b"application/cloudevents+json",
            b"text/plain;charset=UTF-8",
            b"application/x-www-form-urlencoded",
            b"",
        ],
    )
    def test_json_under_any_name_is_json(self, content_type: bytes) -> None:
        request = raw(b'{"a": 1}', content_type)
        assert request.document == {"a": 1}
        assert DIALECT.upstream_call(request, "small") == UpstreamCall("", b'{"a":1}', (JSON,))

    @QUICK
    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_the_same_bytes_have_the_same_key_and_others_another(self, one: bytes, other: bytes) -> None:
        assert (canonical(raw(one)) == canonical(raw(other))) == (one == other)

    def test_the_content_type_decides(self) -> None:
        assert canonical(raw()) != canonical(raw(content_type=b"image/jpeg"))

    def test_no_document_or_form_is_mistaken_for_it(self) -> None:
        spellings = {
            canonical(raw()),
            canonical(form()),
            canonical(raw(b"false", b"")),
            canonical(raw(b"false")),
        }
        assert len(spellings) == 4


class TestForm:
    def test_it_goes_upstream_with_the_same_parts(self) -> None:
        request = form(("lang", "en"), ("lang", "de"), files=(PIXEL, PIXEL._replace(name="mask")))
        call = DIALECT.upstream_call(request, "small")
        written = read_form(Incoming(call.body, dict(call.headers)))
        assert written == request.document
        assert [bytes(file.content) for file in written.files] == [PNG, PNG]

    def test_neither_the_files_name_nor_the_boundary_decides(self) -> None:
        other = form(("lang", "en"), files=(PIXEL._replace(filename="b.png"),))
        assert canonical(other) == canonical(form(("lang", "en")))

    @pytest.mark.parametrize(
        "other",
        [
            form(("lang", "de")),
            form(("lang", "en"), ("lang", "en")),
            form(("Lang", "en")),
            form(("lang", "en"), files=()),
            form(("lang", "en"), files=(PIXEL, PIXEL)),
            form(("lang", "en"), files=(PIXEL._replace(name="mask"),)),
            form(("lang", "en"), files=(PIXEL._replace(content_type="image/gif"),)),
            form(("lang", "en"), files=(PIXEL._replace(content=memoryview(PNG + b"\0")),)),
        ],
    )
    def test_all_else_does(self, other: InferenceRequest) -> None:
        assert canonical(other) != canonical(form(("lang", "en")))

    def test_the_order_of_names_does_not_and_of_values_does(self) -> None:
        one, turned = form(("a", "1"), ("b", "2"), ("a", "3")), form(("b", "2"), ("a", "1"), ("a", "3"))
        assert canonical(one) == canonical(turned)
        assert canonical(one) != canonical(form(("a", "3"), ("b", "2"), ("a", "1")))

    def test_volatile_fields_do_not(self) -> None:
        stamped = form(("lang", "en"), ("timestamp", "1"))
        assert canonical(stamped, "/timestamp") == canonical(form(("lang", "en")), "/timestamp")
        assert canonical(stamped) != canonical(form(("lang", "en")))

    @pytest.mark.parametrize(
        "body", [b"", b"--b\r\n", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"]
    )
    def test_what_is_no_form(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest) as refused:
            raw(body, b"multipart/form-data; boundary=b")
        assert refused.value.code == "invalid_form"


class TestAnswer:
    @pytest.mark.parametrize(
        ("content_type", "body", "read"),
        [
            (b"application/json", b'{"a":1}', {"a": 1}),
            (b"", b'{"a":1}', {"a": 1}),
            (b"text/plain; charset=utf-8", b'{"a":1}', {"a": 1}),
            (b"text/plain", "Total: 5 €".encode(), "Total: 5 €"),
            (b"text/csv", b"a;b\xff", "a;b�"),
            (b"image/png", PNG, PNG),
            (b"application/octet-stream", b'{"a":1}', b'{"a":1}'),
        ],
    )
    def test_it_is_read_as_what_it_says(self, content_type: bytes, body: bytes, read: Any) -> None:
        headers = ((b"content-type", content_type),) if content_type else ()
        assert DIALECT.read(raw(), Answer(headers, body)) == read
        assert DIALECT.is_answer(raw(), read)

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            (b"text/html; charset=utf-8", b"<h1>It works!</h1>"),
            (b"application/json", b"<h1>It works!</h1>"),
            (b"application/json", b"NaN"),
            (b"application/json", b"[" * 100_000),
            (b"", PNG),
        ],
    )
    def test_a_lie_or_a_web_page_is_none(self, content_type: bytes, body: bytes) -> None:
        with pytest.raises(ValueError, match=r".+"):
            DIALECT.read(raw(), Answer(((b"content-type", content_type),), body))

    def test_no_bytes_are_no_answer(self) -> None:
        assert not DIALECT.is_answer(raw(), b"")

    def test_bytes_are_given_as_they_are(self) -> None:
        kept = Answer(((b"content-type", b"image/png"),), PNG)
        assert raw().takes_answers_as_kept
        assert DIALECT.give(raw(), kept) is kept


class TestUsage:
    @pytest.mark.parametrize("request_", [raw(), form(("lang", "en"))])
    @pytest.mark.parametrize(
        ("rule", "units"), [({"per_call": 2}, 2), ({"per_kib": 3}, 6), ({"pointer": "/usage/pages"}, 4)]
    )
    def test_a_metering_rule_counts_for_all(
        self, request_: InferenceRequest, rule: dict[str, Any], units: int
    ) -> None:
        answer = {"usage": {"pages": 4}}
        assert DIALECT.usage(request_, answer, {"units": rule}, 1025) == UsageReport(units=units)

    def test_it_counts_a_forms_files(self) -> None:
        rule = {"units": {"per_item": "/image"}}
        assert DIALECT.usage(form(files=(PIXEL, PIXEL)), PNG, rule, 0) == UsageReport(units=2)

    @pytest.mark.parametrize("rule", [{"pointer": "/usage/pages"}, {"pointer": ""}, {"per_item": "/image"}])
    def test_what_bytes_cannot_say_is_suspect(self, rule: dict[str, Any]) -> None:
        with pytest.raises(UsageMismatch):
            DIALECT.usage(raw(), PNG, {"units": rule}, 0)

    def test_bytes_report_nothing_and_count_nothing(self) -> None:
        assert DIALECT.usage(raw(), PNG, {}, 0) is None
        assert DIALECT.estimate(raw(), PNG) == UsageReport()
        assert DIALECT.estimate(form(("prompt", "12345")), "123456") == UsageReport(
            TokenPools(input=2, output=2)
        )
        assert DIALECT.estimate(raw(), None).pools.input == 0
