"""The head of a call: where it goes, what is in it, and what can never be put into it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.gateway.upstreams.address import MAX_HEADS, Address
from cacheproxy.gateway.upstreams.dialling import Origin
from cacheproxy.protocols.request import UpstreamCall
from tests.cacheproxy.gateway.upstreams.conftest import make_target


def head(
    url: str = "http://127.0.0.1", path: str = "", agent: str | None = None, **changes: Any
) -> list[bytes]:
    """Return the lines of a call's head."""
    headers = changes.pop("headers", ())
    address = Address(make_target(url, **changes))
    lines = address.head(UpstreamCall(path, b"", headers), agent).split(b"\r\n")
    assert lines.pop() == b"content-length: "
    return lines


@pytest.mark.parametrize(
    ("url", "origin", "place", "host"),
    [
        ("http://a.example", Origin(False, "a.example", 80), b"/x", b"a.example"),
        ("http://A.Example:80/", Origin(False, "a.example", 80), b"//x", b"a.example"),
        ("https://a.example:8443/v1", Origin(True, "a.example", 8443), b"/v1/x", b"a.example:8443"),
        ("http://[::1]:9000/v1", Origin(False, "::1", 9000), b"/v1/x", b"[::1]:9000"),
        ("https://[2001:db8::1]", Origin(True, "2001:db8::1", 443), b"/x", b"[2001:db8::1]"),
        (
            "http://bücher.example/ä b",
            Origin(False, "bücher.example", 80),
            b"/%C3%A4%20b/x",
            b"xn--bcher-kva.example",
        ),
        ("http://a.example/a%2Fb%20c", Origin(False, "a.example", 80), b"/a%2Fb%20c/x", b"a.example"),
        ("http://a.example/p?k=ü&v=1", Origin(False, "a.example", 80), b"/p/x?k=%C3%BC&v=1", b"a.example"),
    ],
)
def test_a_url_says_where_to_connect_and_what_to_ask_for(
    url: str, origin: Origin, place: bytes, host: bytes
) -> None:
    assert Address(make_target(url)).origin == origin
    lines = head(url, "/x")
    assert lines[0] == b"POST " + place + b" HTTP/1.1"
    assert lines[1] == b"host: " + host


def test_a_bare_url_asks_for_the_root() -> None:
    assert head("http://a.example")[0] == b"POST / HTTP/1.1"


def test_a_url_may_hold_a_name_and_a_password_which_the_operators_key_overrides() -> None:
    url = "http://me:p%40ss@a.example/"
    assert b"authorization: Basic bWU6cEBzcw==" in head(url)
    assert b"authorization: Bearer sk" in head(url, secret="sk")
    assert not [line for line in head(url, secret="sk") if b"Basic" in line]


def test_each_header_goes_out_once() -> None:
    stated = ((b"Accept", b"image/png"), (b"user-agent", b"dialect"), (b"Authorization", b"Bearer theirs"))
    lines = head(headers=stated, agent="agent/1 \xe9", secret="sk-ü")
    names = [line.split(b":")[0] for line in lines[1:]]
    assert len(names) == len(set(names))
    assert b"accept: image/png" in lines
    assert b"user-agent: dialect" in lines
    assert b"authorization: Bearer sk-\xc3\xbc" in lines
    assert b"user-agent: agent/1 \xe9" in head(agent="agent/1 \xe9")


NEVER = ["a\r\nx: y", "a\nb", "a\rb", "a\x00b", "a\x7fb", "\n", "a\r\n\r\nPOST /other HTTP/1.1"]


@pytest.mark.parametrize("value", NEVER)
def test_a_value_cannot_become_a_line(value: str) -> None:
    for case in (
        {"headers": ((b"x-a", value.encode()),)},
        {"agent": value},
        {"secret": value},
        {"secret": value, "protocol": "anthropic"},
    ):
        with pytest.raises(ValueError, match="has characters that none may have") as refusal:
            head(**case)
        assert value not in str(refusal.value)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xc3\xa4"])
def test_a_name_cannot_either(name: bytes) -> None:
    with pytest.raises(ValueError, match="none may have"):
        head(headers=((name, b"1"),))


@pytest.mark.parametrize("method", ["", "GET /x", "GET\r\n"])
def test_nor_a_method(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        Address(make_target("http://a")).head(UpstreamCall("/", b"", (), method), None)


@given(st.text(), st.text(), st.text(alphabet=st.characters(max_codepoint=255)))
def test_whatever_a_call_says_its_head_has_the_lines_that_it_should(url: str, path: str, agent: str) -> None:
    try:
        lines = head(f"http://a.example/{url}", path, agent)
    except ValueError:
        return
    assert len(lines) == 5
    assert len(lines[0].split(b" ")) == 3


def test_heads_are_kept_but_not_for_ever() -> None:
    address = Address(make_target("http://a"))
    first = address.head(UpstreamCall("/1", b""), None)
    assert address.head(UpstreamCall("/1", b""), None) is first
    for number in range(MAX_HEADS):
        address.head(UpstreamCall("/1", b"", ((b"traceparent", b"%d" % number),)), None)
    again = address.head(UpstreamCall("/1", b""), None)
    assert again == first
    assert again is not first
