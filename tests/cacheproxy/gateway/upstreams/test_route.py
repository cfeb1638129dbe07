"""Whose turn it is: priorities, weights, and who is left out."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.gateway.errors import Overloaded
from cacheproxy.gateway.upstreams.breaker import Breaker
from cacheproxy.gateway.upstreams.errors import UpstreamNotConfigured, UpstreamUnavailable
from cacheproxy.gateway.upstreams.route import Lane, Route, Server
from tests.cacheproxy.gateway.upstreams.conftest import make_model, make_target


def make_route(*weights_and_priorities: tuple[int, int]) -> Route:
    targets = [
        make_target(f"http://{name}", upstream=name, weight=weight, priority=priority)
        for name, (weight, priority) in zip("abcdefgh", weights_and_priorities, strict=False)
    ]
    return Route(make_model(*targets), [Lane(each, Server(Breaker(1, 10), 100)) for each in targets])


def turns(route: Route, count: int) -> str:
    chosen = [route.choose(0) for _ in range(count)]
    return "".join(lane.target.upstream if lane else "-" for lane in chosen)


def test_turns_are_spread_evenly_by_weight() -> None:
    assert turns(make_route((3, 0), (1, 0)), 8) == "aabaaaba"
    assert turns(make_route((5, 0), (1, 0), (1, 0)), 7) == "aabacaa"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_in_every_round_everyone_has_its_weight(weights: list[int]) -> None:
    route = make_route(*((weight, 0) for weight in weights))
    for _ in range(3):
        assert Counter(turns(route, sum(weights))) == dict(zip("abcdef", weights, strict=False))


def test_the_next_priority_takes_over_where_the_first_is_not_to_be_had() -> None:
    route = make_route((1, 0), (1, 1), (1, 1))
    assert turns(route, 3) == "aaa"
    first = route.lanes[0]
    first.server.breaker.failed(first.server.breaker.begin(), 0)
    assert turns(route, 4) == "bcbc"


def test_who_was_tried_is_not_chosen() -> None:
    route = make_route((1, 0), (1, 0), (1, 1))
    a, b, c = route.lanes
    assert route.choose(0, [a]) is b
    assert route.choose(0, [a, b]) is c
    assert route.choose(0, [a, b, c]) is None


def test_who_asked_to_wait_is_asked_only_when_there_is_nobody_else() -> None:
    route = make_route((1, 0), (1, 1))
    a, b = route.lanes
    a.cool_until = 20
    assert route.choose(10) is b
    b.cool_until = 30
    assert route.choose(10) is a
    assert route.choose(25) is a


def test_a_full_server_and_one_without_its_key_are_left_out() -> None:
    route = make_route((1, 0), (1, 0))
    a, b = route.lanes
    a.server.under_way = a.server.max_calls
    assert turns(route, 2) == "bb"
    b.target = make_target("http://b", upstream="b", api_key_env="B_KEY")
    assert route.choose(0) is None
    assert isinstance(route.refusal(0), Overloaded)
    a.target = make_target("http://a", upstream="a", api_key_env="A_KEY")
    assert isinstance(route.refusal(0), UpstreamNotConfigured)
    b.target = make_target("http://b", upstream="b", api_key_env="B_KEY", secret="sk")
    assert route.choose(0) is b


def test_a_refusal_says_when_the_first_breaker_lets_a_call_through() -> None:
    route = make_route((1, 0), (1, 0))
    for lane, now in zip(route.lanes, (0.0, 4.5), strict=True):
        lane.server.breaker.failed(lane.server.breaker.begin(), now)
    refusal = route.refusal(5)
    assert isinstance(refusal, UpstreamUnavailable)
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (503, "upstream_unavailable", 5)
    assert route.refusal(9.99).retry_after_seconds == 1


@pytest.mark.parametrize("seconds", [10, 12])
def test_while_a_probe_is_under_way_a_refusal_asks_for_a_second(seconds: float) -> None:
    route = make_route((1, 0))
    breaker = route.lanes[0].server.breaker
    breaker.failed(breaker.begin(), 0)
    assert route.choose(seconds) is route.lanes[0]
    breaker.begin()
    assert route.choose(seconds) is None
    assert route.refusal(seconds).retry_after_seconds == 1
