import tracemalloc
from contextlib import suppress

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.multipart import (
    MAX_HEADER_BYTES,
    MAX_PART_HEADERS,
    MAX_PARTS,
    File,
    Form,
    described,
    is_form,
    read_form,
    write_form,
)
from cacheproxy.protocols.request import Incoming, InvalidRequest

QUICK = settings(deadline=None, max_examples=100)
HEADER = b"multipart/form-data; boundary=XX"


def incoming(body: bytes, content_type: bytes = HEADER) -> Incoming:
    return Incoming(body, {b"content-type": content_type})


def written(form: Form) -> Incoming:
    header, body = write_form(form)
    return Incoming(body, dict([header]))


def part(name: str = "a", value: bytes = b"1", *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n{lines}\r\n'.encode() + value + b"\r\n"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Co", "Cn", "Z"], exclude_characters='"\\%'),
    min_size=1,
    max_size=8,
)
contents = st.binary(max_size=60) | st.just(b"\r\n--XX\r\n") | st.just(b"\r\n--")
files = st.builds(
    File, names, names, st.sampled_from(["", "audio/mpeg", "image/png"]), contents.map(memoryview)
)
forms = st.builds(
    Form, st.lists(st.tuples(names, texts), max_size=4).map(tuple), st.lists(files, max_size=3).map(tuple)
)


@QUICK
@given(forms)
def test_what_is_written_reads_as_it_was(form: Form) -> None:
    assert read_form(written(form)) == form


def test_a_clients_form() -> None:
    request = httpx2.Request(
        "POST",
        "http://gateway/",
        data={"model": "whisper-1", "timestamp_granularities[]": ["word", "segment"]},
        files={"file": ("käse.mp3", b"\x00\xffID3\r\n", "audio/mpeg")},
    )
    form = read_form(incoming(request.read(), request.headers["content-type"].encode()))
    assert form.value("model") == "whisper-1"
    assert form.values("timestamp_granularities[]") == ["word", "segment"]
    assert form.value("absent") is None
    assert form.files == (File("file", "käse.mp3", "audio/mpeg", memoryview(b"\x00\xffID3\r\n")),)


def test_quotes_and_backslashes_cannot_end_a_name() -> None:
    form = Form((('a"; filename="x', "1"), ("b\\", "2")), (File("c", '\\"', "", memoryview(b"")),))
    read = read_form(written(form))
    assert [name for name, _ in read.fields] == ["a%22; filename=%22x", "b%5C"]
    assert [file.filename for file in read.files] == ["%5C%22"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "last boundary is missing"),
        (b"{}", "Expected boundary"),
        (b"--YY--", "Expected boundary"),
        (part(), "last boundary is missing"),
        (part()[:-4], "last boundary is missing"),
        (b"--XX\r\nContent-Disposition", "last boundary is missing"),
        (b"--XX\r\n\r\n1\r\n--XX--", "has no name"),
        (part("") + b"--XX--", "has no name"),
        (part("a", b"\xff") + b"--XX--", "not UTF-8"),
        (part("\n") + b"--XX--", "control characters"),
        (b'--XX\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--XX--', "not UTF-8"),
        (part("a", b"MQ==", "Content-Transfer-Encoding: base64") + b"--XX--", "part a is encoded"),
        (part("a", b"1", "Bad Header: 1") + b"--XX--", "invalid character"),
        (part("a", b"1", *["X: 1"] * MAX_PART_HEADERS) + b"--XX--", "header count"),
        (part("a", b"1", "X: " + "y" * MAX_HEADER_BYTES) + b"--XX--", "header size"),
        (part() * (MAX_PARTS + 1) + b"--XX--", f"more than {MAX_PARTS} parts"),
        (part("a", b"\r\n--XXz" * MAX_PARTS) + b"--XX--", f"more than {MAX_PARTS} parts"),
        (part() + b"--XX \t\r\n", "space after a boundary"),
    ],
)
def test_a_broken_form(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem) as refused:
        read_form(incoming(body))
    assert refused.value.code == "invalid_form"


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b"application/json",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/mixed; boundary=XX",
        b"multipart/form-data; boundary=" + b"X" * 1000,
    ],
)
def test_what_is_no_form(content_type: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_form(incoming(part() + b"--XX--", content_type))


def test_a_body_says_what_it_is() -> None:
    assert is_form(incoming(b""))
    assert not is_form(incoming(b"", b"application/json"))
    assert not is_form(Incoming(b""))


@QUICK
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_a_form_or_refused(before: bytes, inside: bytes) -> None:
    for body in (before, part("a", inside) + before, b"--XX\r\n" + inside):
        with suppress(InvalidRequest):
            read_form(incoming(body))


class TestDescription:
    FORM = Form((("a", "1"), ("b", "2"), ("a", "3")), (File("f", "one.wav", "audio/wav", memoryview(b"x")),))
    DIGEST = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

    def test_it_says_everything_that_decides(self) -> None:
        expected = {"fields": {"a": ["1", "3"], "b": ["2"]}, "files": {"f": [self.DIGEST]}}
        assert described(self.FORM) == expected

    def test_a_files_name_and_type_decide_nothing(self) -> None:
        other = self.FORM._replace(files=(File("f", "two.mp3", "", memoryview(b"x")),))
        assert described(other) == described(self.FORM)


def test_a_large_file_is_copied_only_into_the_body_that_is_written() -> None:
    size = 20 * 2**20
    request = written(Form((("model", "m"),), (File("file", "a.wav", "audio/wav", memoryview(bytes(size))),)))
    tracemalloc.start()
    try:
        form = read_form(request)
        described(form)
        _, read_peak = tracemalloc.get_traced_memory()
        write_form(form)
        _, write_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read_peak < 2**20
    assert write_peak < size + 2**20
