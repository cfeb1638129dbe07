"""Forms (`multipart/form-data`, RFC 7578): text fields and files, read from a body and written into one.

A file's content is a view into the body that it came in, never a copy. What a form is keyed by is its text and
the digests of its files: a file's name, and what it says of its type, decide nothing about its content.
"""

import secrets
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cacheproxy.protocols.request import Header, Incoming, InvalidRequest

MAX_PARTS = 1024
MAX_PART_HEADERS = 8
MAX_HEADER_BYTES = 4096
_KIND = b"multipart/form-data"
_UNCODED = ("", "7bit", "8bit", "binary")
_IN_QUOTES = str.maketrans({'"': "%22", "\\": "%5C", "\r": "%0D", "\n": "%0A"})


class File(NamedTuple):
    """A file of a form. `content_type` is empty where the part names none."""

    name: str
    filename: str
    content_type: str
    content: memoryview


class Form(NamedTuple):
    """A form. Names may be repeated, in both lists; both are in the body's order."""

    fields: tuple[tuple[str, str], ...] = ()
    files: tuple[File, ...] = ()

    def values(self, name: str) -> list[str]:
        """Return every value of a text field."""
        return [value for field, value in self.fields if field == name]

    def value(self, name: str) -> str | None:
        """Return the last value of a text field, as servers read it, or None."""
        return next(iter(reversed(self.values(name))), None)


def is_form(incoming: Incoming) -> bool:
    """Return whether the body says that it is a form."""
    return _content_type(incoming)[0] == _KIND


def read_form(incoming: Incoming) -> Form:
    """Return the form in a body, which its files are views of.

    Raises:
        InvalidRequest: no form, a broken or unfinished one, more than `MAX_PARTS` parts, headers beyond their
            bounds, text that is not UTF-8, or a part whose content is encoded (as RFC 7578 forbids).
    """
    kind, options = _content_type(incoming)
    if kind != _KIND or not options.get(b"boundary"):
        raise _invalid("it must be multipart/form-data, with a boundary")
    reader = _Reader(incoming.body)
    try:
        reader.read(options[b"boundary"])
    except FormParserError as problem:
        raise _invalid(str(problem)) from problem
    except UnicodeDecodeError as problem:
        raise _invalid("its text is not UTF-8") from problem
    if not reader.whole:
        raise _invalid("its last boundary is missing")
    return Form(tuple(reader.fields), tuple(reader.files))


def write_form(form: Form) -> tuple[Header, bytes]:
    """Return the content type of a form, and its body, under a boundary that nobody could know before."""
    boundary = secrets.token_hex(16).encode()
    header = (b"content-type", _KIND + b"; boundary=" + boundary)
    return header, b"".join(_written(form, boundary))


def described(form: Form) -> dict[str, Any]:
    """Return the form as JSON: the values of each field, and the SHA-256 of each file, in hex."""
    fields = _by_name(form.fields)
    return {"fields": fields, "files": _by_name((file.name, _digest(file)) for file in form.files)}


class _Reader:
    """Takes a body's parts as the parser finds them. The whole body is one write: every span lies in it."""

    def __init__(self, body: bytes) -> None:
        self.fields: list[tuple[str, str]] = []
        self.files: list[File] = []
        self.whole = False
        self._body = body
        self._view = memoryview(body)
        self._headers: dict[bytes, bytes] = {}
        self._header = b""
        self._value = b""
        self._content = self._view[:0]

    def read(self, boundary: bytes) -> None:
        _check_boundaries(self._body, b"\r\n--" + boundary)
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part,
                "on_header_begin": self._on_header,
                "on_header_field": self._on_header_name,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_content,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )
        parser.write(self._body)

    def _on_part(self) -> None:
        self._headers, self._content = {}, self._view[:0]

    def _on_header(self) -> None:
        self._header, self._value = b"", b""

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header = data[start:end].lower()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header] = self._value

    def _on_content(self, data: bytes, start: int, end: int) -> None:
        self._content = self._view[start:end]

    def _on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name, filename = _text(options.get(b"name", b"")), options.get(b"filename")
        if not name:
            raise _invalid("a part of it has no name")
        if _text(self._headers.get(b"content-transfer-encoding", b"")).lower() not in _UNCODED:
            raise _invalid(f"its part {name} is encoded", param=name)
        if filename is None:
            self.fields.append((name, str(self._content, "utf-8")))
        else:
            content_type = _text(self._headers.get(b"content-type", b""))
            self.files.append(File(name, _text(filename), content_type, self._content))

    def _on_end(self) -> None:
        self.whole = True


def _check_boundaries(body: bytes, boundary: bytes) -> None:
    """Refuse what the parser would go through byte by byte in Python: boundaries that are none, or are padded."""
    place, found = body.find(boundary), 0
    while place >= 0:
        place, found = place + len(boundary), found + 1
        if found > MAX_PARTS:
            raise _invalid(f"it has more than {MAX_PARTS} parts")
        if body[place : place + 1] in (b" ", b"\t"):
            raise _invalid("there is space after a boundary")
        place = body.find(boundary, place)


def _content_type(incoming: Incoming) -> tuple[bytes, dict[bytes, bytes]]:
    return parse_options_header(incoming.headers.get(b"content-type"))


def _text(value: bytes) -> str:
    text = value.decode()
    if not text.isprintable():
        raise _invalid("a header of its parts has control characters")
    return text


def _written(form: Form, boundary: bytes) -> Iterator[bytes | memoryview]:
    start = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="'
    for name, value in form.fields:
        yield from (start, _quoted(name), b'"\r\n\r\n', value.encode(), b"\r\n")
    for file in form.files:
        yield from (start, _quoted(file.name), b'"; filename="', _quoted(file.filename), b'"\r\n')
        if file.content_type:
            yield from (b"Content-Type: ", file.content_type.encode(), b"\r\n")
        yield from (b"\r\n", file.content, b"\r\n")
    yield b"--" + boundary + b"--\r\n"


def _quoted(text: str) -> bytes:
    """Return the text for between quotes, as browsers escape it; a backslash too, for parsers differ over it."""
    return text.translate(_IN_QUOTES).encode()


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for name, value in pairs:
        named.setdefault(name, []).append(value)
    return named


def _digest(file: File) -> str:
    return sha256(file.content).hexdigest()


def _invalid(problem: str, param: str | None = None) -> InvalidRequest:
    return InvalidRequest(
        f"The body is not a form that can be read: {problem}.", code="invalid_form", param=param
    )
