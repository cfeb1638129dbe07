"""A data URL and the same bytes as a file of a form are the same; nothing else passes for a file."""

import base64
from typing import Any

import msgspec
import pytest

from cacheproxy.protocols import contents, document
from cacheproxy.protocols.multipart import File, Form, write_form
from cacheproxy.protocols.predict import DIALECT
from cacheproxy.protocols.request import Incoming

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def url(content: bytes = PNG, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def as_json(**fields: Any) -> bytes:
    body = msgspec.json.encode(fields)
    return DIALECT.canonical(DIALECT.parse(Incoming(body, {b"content-type": b"application/json"}, "ocr")), ())


def as_form(
    *fields: tuple[str, str], files: dict[str, bytes], kind: str = "image/png", name: str = "a.png"
) -> bytes:
    parts = tuple(File(field, name, kind, memoryview(content)) for field, content in files.items())
    header, body = write_form(Form(fields, parts))
    return DIALECT.canonical(DIALECT.parse(Incoming(body, dict([header]), "ocr")), ())


def test_a_data_url_and_the_same_bytes_in_a_form_are_equal() -> None:
    assert as_json(image=url(), lang="en") == as_form(("lang", "en"), files={"image": PNG})
    assert as_form(("lang", "en"), files={"image": PNG}, name="b.png") == as_json(lang="en", image=url())


def test_several_files_under_one_name_are_a_list() -> None:
    files = tuple(File("image", "a", "image/png", memoryview(content)) for content in (PNG, b"other"))
    header, body = write_form(Form((), files))
    form = DIALECT.canonical(DIALECT.parse(Incoming(body, dict([header]), "ocr")), ())
    assert form == as_json(image=[url(), url(b"other")])


@pytest.mark.parametrize(
    "other",
    [
        {"image": url(PNG + b"x"), "lang": "en"},
        {"image": url(kind="image/jpeg"), "lang": "en"},
        {"image": url(), "lang": "de"},
        {"picture": url(), "lang": "en"},
        {"image": url()},
        {"image": [url()], "lang": "en"},
    ],
)
def test_any_other_document_is_not(other: dict[str, Any]) -> None:
    assert as_json(**other) != as_form(("lang", "en"), files={"image": PNG})


def test_nothing_passes_for_a_file() -> None:
    keyed = contents.keyed(url())
    assert keyed.startswith("data:image/png;sha256,")
    assert contents.keyed(keyed) != keyed
    assert as_json(image=keyed) != as_json(image=url())
    assert as_form(("a", keyed), files={"b": b""}) != as_form(
        ("b", contents.keyed(url(b""))), files={"a": PNG}
    )
    described = {"type": "image/png", "sha256": keyed.rpartition(",")[2]}
    assert as_json(image=described) != as_json(image=url())


@pytest.mark.parametrize(
    "text", ["data:", "data:,Hi", "data:image/png;base64,!", "data:;base64,á", "data:;base64,QQ"]
)
def test_what_only_begins_like_a_data_url_is_keyed_by_its_text(text: str) -> None:
    assert contents.keyed(text) == contents.keyed(text)
    assert contents.keyed(text) != contents.keyed(text + " ")
    assert contents.keyed(text).startswith("data:;text,")


def test_a_document_without_files_is_keyed_as_it_is() -> None:
    said = {"text": "see data:image/png", "n": [1, 2.5, None]}
    assert contents.canonical(said) == document.canonical(said)


def test_a_form_without_files_is_no_document() -> None:
    assert as_form(("lang", "en"), files={}) != as_json(lang="en")


def test_the_upstream_gets_each_as_it_came() -> None:
    said = {"image": url()}
    request = DIALECT.parse(Incoming(msgspec.json.encode(said), {}, "ocr"))
    assert msgspec.json.decode(DIALECT.upstream_call(request, "small").body) == said


def about(body: bytes, content_type: str, *, volatile: tuple[str, ...] = ()) -> bytes:
    """Return what a request is keyed by where its file stands in the field `image`."""
    request = DIALECT.parse(Incoming(body, {b"content-type": content_type.encode()}, "ocr"))
    return DIALECT.canonical(DIALECT.about_file(request, "image"), volatile)


def about_json(**fields: Any) -> bytes:
    return about(msgspec.json.encode(fields), "application/json")


def about_form(*fields: tuple[str, str], files: list[tuple[str, bytes]]) -> bytes:
    parts = tuple(File(field, "a.png", "image/png", memoryview(content)) for field, content in files)
    header, body = write_form(Form(fields, parts))
    return about(body, header[1].decode())


PLAIN = base64.b64encode(PNG).decode()


def test_a_named_file_counts_by_its_content_in_any_form() -> None:
    forms = {
        about(PNG, "image/png"),
        about(PNG, "application/octet-stream"),
        about_json(image=url()),
        about_json(image=url(kind="image/jpeg")),
        about_json(image=PLAIN),
        about_form(files=[("image", PNG)]),
    }
    assert len(forms) == 1


def test_all_else_beside_a_named_file_counts_as_well() -> None:
    assert about_json(image=PLAIN, lang="en") == about_form(("lang", "en"), files=[("image", PNG)])
    others = [
        about(PNG, "image/png"),
        about(PNG + b"x", "image/png"),
        about_json(image=PLAIN, lang="en"),
        about_json(image=PLAIN, lang="de"),
        about_json(image=PLAIN, mask=url()),
        about_json(picture=PLAIN),
        about_form(("image", PLAIN), files=[("image", PNG)]),
        about_form(files=[("image", PNG), ("image", PNG)]),
        about_form(files=[("mask", PNG)]),
    ]
    assert len(set(others)) == len(others)
    assert about_json(image=PLAIN, mask=url()) == about_form(files=[("mask", PNG), ("image", PNG)])


def test_volatile_fields_beside_a_named_file_decide_nothing() -> None:
    said = msgspec.json.encode({"image": PLAIN, "sent_at": "9:41"})
    header, form = write_form(Form((("sent_at", "9:42"),), (File("image", "a", "", memoryview(PNG)),)))
    keyed = {
        about(said, "application/json", volatile=("/sent_at",)),
        about(form, header[1].decode(), volatile=("/sent_at",)),
        about(PNG, "image/png", volatile=("/sent_at",)),
    }
    assert len(keyed) == 1


@pytest.mark.parametrize(
    "image", ["https://example.com/a.png", "", ",QUJD", "data:,abcd", "no image", 7, None]
)
def test_what_is_no_file_counts_as_it_is_written(image: object) -> None:
    said = {"image": image}
    assert about_json(**said) == as_json(**said)
    assert about(b"[1]", "application/json") == b"[1]"
