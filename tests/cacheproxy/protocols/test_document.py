from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols import document

# The examples of RFC 6901, section 5.
RFC = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", RFC),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_a_pointer_leads_where_the_standard_says(pointer: str, value: Any) -> None:
    assert document.at(RFC, pointer) == value


@pytest.mark.parametrize(
    "pointer", ["/nothing", "/foo/2", "/foo/-", "/foo/-1", "/foo/00", "/foo/٠", "/foo/0/x", "/a~1b/x"]
)
def test_a_pointer_may_lead_nowhere(pointer: str) -> None:
    with pytest.raises(LookupError):
        document.at(RFC, pointer)
    assert document.without(RFC, [pointer]) == RFC


@pytest.mark.parametrize("pointer", ["foo", "/a~", "/a~2b", "$.foo"])
def test_what_is_no_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(ValueError, match="is not a JSON Pointer"):
        document.at(RFC, pointer)


@pytest.mark.parametrize(
    ("pointers", "left"),
    [
        (["/meta/id"], {"meta": {"at": 1}, "items": [{"id": 1}, {"id": 2}]}),
        (["/meta", "/meta/id"], {"items": [{"id": 1}, {"id": 2}]}),
        (["/meta/id", "/meta"], {"items": [{"id": 1}, {"id": 2}]}),
        (["/items/0/id", "/items/1/id"], {"meta": {"at": 1, "id": 2}, "items": [{}, {}]}),
        (["/items/0", "/items/1"], {"meta": {"at": 1, "id": 2}, "items": [None, None]}),
        (["/items/*/id"], {"meta": {"at": 1, "id": 2}, "items": [{}, {}]}),
        (["/items/*"], {"meta": {"at": 1, "id": 2}, "items": [None, None]}),
        (["/*/id", "/*/*/id"], {"meta": {"at": 1}, "items": [{}, {}]}),
        (["/*"], {}),
        (
            ["/meta/*/id", "/nothing/*", "/meta/at/*"],
            {"meta": {"at": 1, "id": 2}, "items": [{"id": 1}, {"id": 2}]},
        ),
        ([""], None),
        ([], {"meta": {"at": 1, "id": 2}, "items": [{"id": 1}, {"id": 2}]}),
    ],
)
def test_volatile_fields_are_left_out_and_the_document_unchanged(pointers: list[str], left: Any) -> None:
    given = {"meta": {"at": 1, "id": 2}, "items": [{"id": 1}, {"id": 2}]}
    before = document.canonical(given)
    assert document.without(given, pointers) == left
    assert document.canonical(given) == before


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@settings(deadline=None)
@given(st.dictionaries(texts, values), texts.filter(lambda name: name != "*"), values)
def test_any_field_can_be_pointed_to(holder: dict[str, Any], name: str, value: Any) -> None:
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    with_it = {**holder, name: value}
    holder.pop(name, None)
    assert document.at(with_it, pointer) == value
    assert document.without(with_it, [pointer]) == holder


@settings(deadline=None)
@given(values)
def test_what_is_written_reads_the_same(value: Any) -> None:
    assert document.read(document.write(value)) == value
    assert document.read(document.canonical(value)) == value


def test_put_changes_a_copy() -> None:
    given = {"a": {"b": [1, 2]}, "c": 3}
    assert document.put(given, "/a/b/1", 5) == {"a": {"b": [1, 5]}, "c": 3}
    assert document.put(given, "", 5) == 5
    assert given == {"a": {"b": [1, 2]}, "c": 3}


@pytest.mark.parametrize("pointer", ["/x/y", "/c/d", "/a/b/7"])
def test_put_where_nothing_is(pointer: str) -> None:
    with pytest.raises(LookupError):
        document.put({"a": {"b": [1, 2]}, "c": 3}, pointer, 5)


HOLDER: dict[str, Any] = {"*": 1, "items": [{"id": 1}, {"name": 2}, 3], "meta": {"id": 4}}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("", [HOLDER]),
        ("/items/*/id", [1]),
        ("/items/*", [{"id": 1}, {"name": 2}, 3]),
        ("/*/id", [4]),
        ("/items/1/name", [2]),
        ("/meta/*", [4]),
        ("/nothing/*", []),
        ("/items/7", []),
    ],
)
def test_a_path_leads_to_every_item_and_field(path: str, values: list[Any]) -> None:
    assert list(document.found(HOLDER, path)) == values


def test_in_a_plain_pointer_an_asterisk_is_a_name() -> None:
    assert document.at(HOLDER, "/*") == 1
    with pytest.raises(LookupError):
        document.at(HOLDER, "/items/*")


def test_everything_that_a_path_leads_to_is_changed_in_a_copy() -> None:
    before = document.canonical(HOLDER)
    changed = document.changed(HOLDER, "/items/*/id", lambda value: value + 1)
    assert changed == {**HOLDER, "items": [{"id": 2}, {"name": 2}, 3]}
    assert document.changed(HOLDER, "/no/*/where", str) == HOLDER
    assert document.changed(5, "", str) == "5"
    assert document.canonical(HOLDER) == before
