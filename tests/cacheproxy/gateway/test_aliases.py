"""Other gateways' names for our cache controls."""

import timeit
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.gateway import aliases
from cacheproxy.gateway.controls import (
    PLAIN,
    Controls,
    controls_of,
    merge,
    none_in,
    read_controls,
    without_controls,
)
from cacheproxy.gateway.errors import BadRequest

SWITCHES = [
    (b"x-openrouter-cache", b"false", Controls(no_store=True)),
    (b"x-openrouter-cache-clear", b"true", Controls(no_cache=True)),
    (b"cf-aig-skip-cache", b"true", Controls(no_cache=True)),
    (b"helicone-cache-enabled", b"False", Controls(no_store=True)),
    (b"x-portkey-cache-force-refresh", b"True", Controls(no_cache=True)),
]
LIFETIMES = [b"x-openrouter-cache-ttl", b"cf-aig-cache-ttl"]
NAMESPACES = [b"cf-aig-cache-key", b"helicone-cache-seed", b"x-portkey-cache-namespace"]


def attempt(read: Callable[[Any], Controls], given: Any) -> Controls | BadRequest:
    try:
        return read(given)
    except BadRequest as refused:
        return refused


@pytest.mark.parametrize(("name", "value", "controls"), SWITCHES)
def test_a_switch_rules_out_and_never_in(name: bytes, value: bytes, controls: Controls) -> None:
    other = b"false" if value.lower() == b"true" else b"true"
    assert read_controls({name: value}) == controls
    assert read_controls({name: other}) == PLAIN
    assert read_controls({name: other, b"cache-control": b"no-store"}) == Controls(no_store=True)


@pytest.mark.parametrize("name", LIFETIMES)
def test_a_time_to_live_is_taken(name: bytes) -> None:
    assert read_controls({name: b"300"}) == Controls(ttl_seconds=300)


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_is_taken_as_it_is(name: bytes) -> None:
    assert read_controls({name: b"User 1"}) == Controls(namespace=b"User 1")
    assert read_controls({name: b""}) == PLAIN


def test_the_stricter_of_two_counts() -> None:
    assert read_controls({b"x-openrouter-cache-ttl": b"300", b"cf-aig-cache-ttl": b"60"}).ttl_seconds == 60


def test_two_namespaces_are_one_inside_the_other() -> None:
    first, second = (
        read_controls({b"cf-aig-cache-key": outer, b"helicone-cache-seed": inner}).namespace
        for outer, inner in ((b"1:a/b", b"c"), (b"1:a", b"b/c"))
    )
    assert first != second


def test_helicones_max_age_is_a_time_to_live_as_well() -> None:
    both = {b"helicone-cache-enabled": b"true", b"cache-control": b"max-age=60"}
    assert read_controls(both) == Controls(max_age_seconds=60, ttl_seconds=60)
    assert read_controls(both | {b"cache-control": b"max-age=0"}) == Controls(max_age_seconds=0)
    assert read_controls({b"cache-control": b"max-age=60"}) == Controls(max_age_seconds=60)


def test_what_has_no_honest_mapping_is_ignored() -> None:
    assert read_controls({b"helicone-cache-bucket-max-size": b"20", b"x-portkey-cache": b"semantic"}) is PLAIN


@pytest.mark.parametrize(
    ("cache", "controls"),
    [
        ({}, PLAIN),
        ({"no-cache": True}, Controls(no_cache=True)),
        ({"no-cache": False, "no-store": None, "use-cache": True}, PLAIN),
        ({"no-store": True}, Controls(no_store=True)),
        ({"use-cache": False}, Controls(no_store=True)),
        ({"ttl": 60, "s-maxage": 0}, Controls(ttl_seconds=60, max_age_seconds=0)),
        ({"s-max-age": 5, "s-maxage": 9}, Controls(max_age_seconds=5)),
        ({"namespace": "früh", "unknown": 1}, Controls(namespace="früh".encode())),
    ],
)
def test_litellms_object_is_read(cache: Any, controls: Controls) -> None:
    assert controls_of({"model": "m", "cache": cache}) == controls


@pytest.mark.parametrize("document", [{}, {"cache": True}, {"cache": [1]}, [], None, 3])
def test_a_body_without_the_object_is_left_alone(document: Any) -> None:
    assert controls_of(document) is PLAIN
    assert without_controls(document) is document


def test_the_object_goes_out_of_the_body() -> None:
    document = {"model": "m", "cache": {"ttl": 3}, "n": 1}
    assert without_controls(document) == {"model": "m", "n": 1}
    assert document["cache"] == {"ttl": 3}


def test_our_own_age_wins_and_the_rest_adds_up() -> None:
    header = read_controls(
        {b"cache-control": b"max-age=0", b"x-zerorate-session": b"s", b"cf-aig-cache-ttl": b"9"}
    )
    body = controls_of({"cache": {"no-store": True, "s-maxage": 60, "ttl": 5, "namespace": "n"}})
    assert merge(header, body) == Controls(
        no_store=True, max_age_seconds=0, session=b"s", ttl_seconds=5, namespace=b"n"
    )
    assert merge(header, PLAIN) is header
    assert merge(PLAIN, body) == body


@given(st.sampled_from(sorted(aliases.HEADERS)), st.binary(max_size=300))
def test_a_value_is_taken_or_refused_by_name(name: bytes, value: bytes) -> None:
    result = attempt(read_controls, {name: value})
    if isinstance(result, BadRequest):
        assert (result.status, result.code) == (400, "invalid_header")
        assert name.decode() in result.message
    else:
        assert result.ttl_seconds is None or result.ttl_seconds >= 1
        assert len(result.namespace) <= aliases.MAX_NAME_BYTES


@pytest.mark.parametrize("name", LIFETIMES)
@pytest.mark.parametrize("value", [b"", b"0", b"-1", b"1.5", b"60s", "²".encode("latin-1"), b"9" * 19])
def test_a_malformed_time_to_live_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(BadRequest, match=name.decode()):
        read_controls({name: value})


@pytest.mark.parametrize("name", [name for name, _, _ in SWITCHES])
@pytest.mark.parametrize("value", [b"", b"1", b"yes", b"true, false"])
def test_a_malformed_switch_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(BadRequest, match=name.decode()):
        read_controls({name: value})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@given(st.sampled_from(sorted(aliases.FIELDS)), JSON)
def test_a_field_is_taken_or_refused_by_name(name: str, value: Any) -> None:
    result = attempt(controls_of, {"cache": {name: value}})
    if isinstance(result, BadRequest):
        assert (result.status, result.code, result.param) == (400, "invalid_field", f"cache.{name}")
    else:
        assert value is None or isinstance(value, bool | int | str)
        assert merge(PLAIN, result) == result


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ttl", 0),
        ("ttl", True),
        ("ttl", "60"),
        ("ttl", 1.0),
        ("s-maxage", -1),
        ("no-cache", 1),
        ("namespace", 3),
    ],
)
def test_a_malformed_field_is_refused(name: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=f"cache.{name}"):
        controls_of({"cache": {name: value}})


def test_calls_without_aliases_hardly_pay() -> None:
    """Half a microsecond is the budget; ten times that fails on no machine by accident."""
    headers = {b"header-%d" % number: b"" for number in range(16)}
    calls = 10_000
    seconds = min(timeit.repeat(lambda: none_in(headers), number=calls, repeat=5))
    assert seconds / calls < 5e-6
