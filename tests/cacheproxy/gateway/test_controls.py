"""Cache-Control as clients write it."""

import pytest

from cacheproxy.gateway.call import read_headers
from cacheproxy.gateway.controls import ANY, PLAIN, Controls, read_controls
from cacheproxy.gateway.errors import BadRequest


@pytest.mark.parametrize(
    ("cache_control", "controls"),
    [
        (b"", PLAIN),
        (b"no-cache", Controls(no_cache=True)),
        (b"NO-CACHE, no-store", Controls(no_cache=True, no_store=True)),
        (b"max-age=0", Controls(max_age_seconds=0)),
        (b' only-if-cached ,max-age = "60" ', Controls(only_if_cached=True, max_age_seconds=60)),
        (b"private, stale-while-revalidate=3, x=no-store", PLAIN),
        (b"min-fresh=3, max-stale", Controls(min_fresh_seconds=3, max_stale_seconds=ANY)),
        (b"max-stale=3, stale-if-error=4", Controls(max_stale_seconds=3, stale_if_error_seconds=4)),
    ],
)
def test_directives_are_read(cache_control: bytes, controls: Controls) -> None:
    assert read_controls({b"cache-control": cache_control}) == controls


def test_without_the_headers_there_is_nothing_to_read() -> None:
    assert read_controls({b"accept": b"*/*"}) is PLAIN


def test_a_session_is_taken_as_it_is() -> None:
    assert read_controls({b"x-zerorate-session": b"S 1"}) == Controls(session=b"S 1")


@pytest.mark.parametrize(
    "value",
    [
        b"max-age=",
        b"max-age",
        b"max-age=-1",
        b"max-age=1.5",
        b"max-age=" + b"9" * 30,
        b"min-fresh",
        b"max-stale=x",
        b"stale-if-error",
    ],
)
def test_an_age_that_is_no_number_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        read_controls({b"cache-control": value})
    assert refused.value.code == "invalid_header"


def test_an_endless_session_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_controls({b"x-zerorate-session": b"s" * 257})


def test_may_read() -> None:
    assert PLAIN.may_read
    assert not Controls(no_cache=True).may_read
    assert not Controls(no_store=True).may_read


def test_a_header_in_several_lines_is_one_list() -> None:
    raw = [(b"cache-control", b"no-cache"), (b"host", b"x"), (b"cache-control", b"max-age=5")]
    assert read_headers(raw) == {b"cache-control": b"no-cache, max-age=5", b"host": b"x"}
    controls = read_controls(read_headers(raw))
    assert (controls.no_cache, controls.max_age_seconds) == (True, 5)
