"""Who is asked next: what is sent a second time, and what never."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from cacheproxy.gateway.catalog.catalog import Model
from cacheproxy.gateway.errors import Overloaded
from cacheproxy.gateway.upstreams.errors import (
    UpstreamError,
    UpstreamLost,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from cacheproxy.gateway.upstreams.failover import Upstreams
from tests.cacheproxy.gateway.upstreams.conftest import SETTINGS, Clock, ask, compose, make_model, make_target
from tests.fakes.upstream import (
    Behaviour,
    FakeUpstream,
    answer,
    chat_answer,
    drop,
    html,
    raw_answer,
    raw_head,
    reset,
    stall,
)

Make = Callable[[], Awaitable[FakeUpstream]]
BUSY = answer({"error": {"message": "busy"}}, status=429, headers={"retry-after": "7"})
BROKEN_BODY = drop(raw_head(content_type="application/json", content_length="100") + b"{")


class Pair:
    """A model on two servers, the second for when the first fails."""

    def __init__(self, first: FakeUpstream, second: FakeUpstream, retry: str, limits: Any) -> None:
        self.first = first
        self.second = second
        self.model = make_model(
            make_target(first.url, upstream="first", upstream_model="one", **limits),
            make_target(second.url, upstream="second", upstream_model="two", priority=1),
            retry=retry,
        )


@pytest.fixture
async def make_pair(make_server: Make) -> Callable[..., Awaitable[Pair]]:
    """Give a maker of pairs."""

    async def make(retry: str = "safe", **limits: float) -> Pair:
        return Pair(await make_server(), await make_server(), retry, limits)

    return make


async def test_a_refused_connection_goes_to_the_next(
    upstreams: Upstreams, make_server: Make, refusing_url: str
) -> None:
    server = await make_server()
    model = make_model(
        make_target(refusing_url, upstream="down"),
        make_target(server.url, upstream="up", upstream_model="other", priority=1),
    )
    got = await ask(upstreams, model)
    assert (got.status, got.target.upstream) == (200, "up")
    assert server.received[0].document == {"model": "other"}
    assert upstreams.repeated == 1


async def test_a_server_that_accepts_nobody_goes_to_the_next(
    upstreams: Upstreams, make_server: Make, deaf_url: str
) -> None:
    server = await make_server()
    deaf = make_target(deaf_url, upstream="deaf", connect_timeout_seconds=0.1)
    got = await ask(upstreams, make_model(deaf, make_target(server.url, upstream="up", priority=1)))
    assert got.target.upstream == "up"


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_an_upstream_that_refuses_for_now_is_passed_over(
    upstreams: Upstreams, make_pair: Any, clock: Clock, status: int
) -> None:
    pair = await make_pair()
    pair.first.then(answer({}, status=status, headers={"retry-after": "7"}))
    assert (await ask(upstreams, pair.model)).target.upstream == "second"
    clock.now += 6.9
    assert (await ask(upstreams, pair.model)).target.upstream == "second"
    clock.now += 0.2
    assert (await ask(upstreams, pair.model)).target.upstream == "first"
    assert len(pair.first.received) == 2


async def test_when_all_refuse_for_now_the_last_answer_is_passed_on(
    upstreams: Upstreams, make_pair: Any
) -> None:
    pair = await make_pair()
    pair.first.then(BUSY, BUSY)
    pair.second.then(BUSY)
    got = await ask(upstreams, pair.model)
    assert (got.status, got.target.upstream) == (429, "second")
    assert (b"retry-after", b"7") in got.headers
    assert len(pair.first.received) + len(pair.second.received) == 2


async def test_a_model_with_one_target_passes_a_refusal_on_and_is_asked_again_at_once(
    upstreams: Upstreams, make_server: Make
) -> None:
    server = await make_server()
    server.then(BUSY)
    model = make_model(make_target(server.url))
    assert (await ask(upstreams, model)).status == 429
    assert (await ask(upstreams, model)).status == 200


NOT_SAFE = [drop(), reset(), stall(), html(500), html(502), html(504), raw_answer(b"", status=302)]


@pytest.mark.parametrize("behaviour", NOT_SAFE)
async def test_what_may_have_been_worked_on_is_sent_once(
    upstreams: Upstreams, make_pair: Any, behaviour: Behaviour
) -> None:
    pair = await make_pair(first_byte_timeout_seconds=0.2)
    pair.first.then(behaviour)
    assert await _status_or_failure(upstreams, pair.model) != 200
    assert (len(pair.first.received), len(pair.second.received)) == (1, 0)


@pytest.mark.parametrize("behaviour", NOT_SAFE)
async def test_a_model_may_say_that_twice_does_no_harm(
    upstreams: Upstreams, make_pair: Any, behaviour: Behaviour
) -> None:
    pair = await make_pair(first_byte_timeout_seconds=0.2, retry="any")
    pair.first.then(behaviour)
    assert (await ask(upstreams, pair.model)).target.upstream == "second"


async def test_a_kept_connection_that_closes_as_the_call_leaves_is_not_safe(
    upstreams: Upstreams, make_pair: Any
) -> None:
    """From outside it cannot be told from a server that read the call and died."""
    pair = await make_pair()
    pair.first.then(answer(chat_answer()), drop())
    await ask(upstreams, pair.model)
    with pytest.raises(UpstreamLost):
        await ask(upstreams, pair.model)
    assert pair.first.accepted == 1
    assert pair.second.received == []


async def test_a_kept_connection_that_has_closed_is_not_used(upstreams: Upstreams, make_server: Make) -> None:
    server = await make_server()
    model = make_model(make_target(server.url))
    head = raw_head(content_type="application/json", content_length="2")
    server.then(drop(head + b"{}"))
    await ask(upstreams, model)
    await asyncio.sleep(0.05)
    assert (await ask(upstreams, model)).status == 200
    assert server.accepted == 2


@pytest.mark.parametrize("retry", ["safe", "any"])
async def test_after_the_head_was_given_out_nothing_is_sent_again(
    upstreams: Upstreams, make_pair: Any, retry: str
) -> None:
    pair = await make_pair(retry=retry)
    pair.first.then(BROKEN_BODY)
    with pytest.raises(UpstreamError):
        await ask(upstreams, pair.model)
    assert pair.second.received == []


async def test_a_failure_of_the_callers_own_is_not_the_upstreams(
    upstreams: Upstreams, make_pair: Any
) -> None:
    pair = await make_pair(retry="any")
    for _ in range(5):
        with pytest.raises(OSError, match="the client's"):
            async with upstreams.exchange(pair.model, compose, None):
                raise OSError("the client's")
        with pytest.raises(UpstreamUnreachable):
            async with upstreams.exchange(pair.model, compose, None):
                raise UpstreamUnreachable
    assert pair.second.received == []
    assert upstreams.states() == {"first": "closed", "second": "closed"}


async def test_the_only_target_is_tried_twice_where_that_is_safe(
    upstreams: Upstreams, make_server: Make, refusing_url: str
) -> None:
    with pytest.raises(UpstreamUnreachable):
        await ask(upstreams, make_model(make_target(refusing_url)))
    assert upstreams.repeated == 1
    server = await make_server()
    server.then(html(500), html(500))
    got = await ask(upstreams, make_model(make_target(server.url), retry="any"))
    assert (got.status, len(server.received)) == (500, 2)


async def test_attempts_are_bounded(upstreams: Upstreams, make_server: Make) -> None:
    servers = [await make_server() for _ in range(5)]
    for server in servers:
        server.then(BUSY)
    targets = [make_target(server.url, upstream=str(n)) for n, server in enumerate(servers)]
    assert (await ask(upstreams, make_model(*targets))).status == 429
    assert sum(len(server.received) for server in servers) == SETTINGS.max_upstream_attempts


async def test_calls_are_spread_by_weight(upstreams: Upstreams, make_server: Make) -> None:
    servers = [await make_server() for _ in range(2)]
    targets = [make_target(s.url, upstream=str(n), weight=3 - 2 * n) for n, s in enumerate(servers)]
    model = make_model(*targets)
    got = await asyncio.gather(*[ask(upstreams, model) for _ in range(40)])
    assert Counter(each.target.upstream for each in got) == {"0": 30, "1": 10}


FAILURES = [drop(), html(500), html(502), answer({}, status=503), BROKEN_BODY, stall()]


@pytest.mark.parametrize("behaviour", FAILURES)
async def test_an_upstream_that_keeps_failing_is_left_alone_then_probed(
    upstreams: Upstreams, make_server: Make, clock: Clock, behaviour: Behaviour
) -> None:
    server = await make_server()
    model = make_model(make_target(server.url, first_byte_timeout_seconds=0.4))
    server.then(*[behaviour] * 3)
    for _ in range(3):
        await _status_or_failure(upstreams, model)
    assert upstreams.states() == {"local": "open"}
    clock.now += 4
    with pytest.raises(UpstreamUnavailable) as refusal:
        await ask(upstreams, model)
    assert refusal.value.retry_after_seconds == 6
    assert len(server.received) == 3

    clock.now += 6
    assert upstreams.states() == {"local": "half_open"}
    server.then(answer(chat_answer(), delay_seconds=0.2))
    probe = asyncio.create_task(ask(upstreams, model))
    await asyncio.sleep(0.05)
    with pytest.raises(UpstreamUnavailable):
        await ask(upstreams, model)
    assert (await probe).status == 200
    assert upstreams.states() == {"local": "closed"}
    assert len(server.received) == 4


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429])
async def test_the_clients_own_mistakes_open_nothing(
    upstreams: Upstreams, make_server: Make, status: int
) -> None:
    server = await make_server()
    model = make_model(make_target(server.url))
    server.then(*[answer({}, status=status)] * 10)
    for _ in range(10):
        assert (await ask(upstreams, model)).status == status
    assert upstreams.states() == {"local": "closed"}


async def test_a_probe_given_up_lets_another_one_try(
    upstreams: Upstreams, make_server: Make, clock: Clock
) -> None:
    server = await make_server()
    model = make_model(make_target(server.url))
    server.then(drop(), drop(), drop(), stall())
    for _ in range(3):
        await _status_or_failure(upstreams, model)
    clock.now += 10
    probe = asyncio.create_task(ask(upstreams, model))
    await asyncio.sleep(0.05)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert (await ask(upstreams, model)).status == 200


async def test_an_open_breaker_is_shared_by_all_models_on_its_upstream(
    upstreams: Upstreams, make_pair: Any
) -> None:
    pair = await make_pair()
    pair.first.then(drop(), drop(), drop())
    for _ in range(3):
        await _status_or_failure(upstreams, pair.model)
    other = msgspec.structs.replace(pair.model, name="other")
    assert (await ask(upstreams, other)).target.upstream == "second"


async def test_an_upstream_at_a_new_address_begins_afresh(upstreams: Upstreams, make_pair: Any) -> None:
    pair = await make_pair()
    alone = make_model(make_target(pair.first.url))
    pair.first.then(drop(), drop(), drop())
    for _ in range(3):
        await _status_or_failure(upstreams, alone)
    assert (await ask(upstreams, make_model(make_target(pair.second.url)))).status == 200
    assert upstreams.states() == {"local": "closed"}


async def test_one_slow_upstream_does_not_take_every_place(make_pair: Any) -> None:
    pair = await make_pair()
    upstreams = Upstreams(msgspec.structs.replace(SETTINGS, max_calls_per_upstream=1))
    await upstreams.start()
    for server in (pair.first, pair.second):
        server.then(answer(chat_answer(), delay_seconds=0.3))
    calls = [asyncio.create_task(ask(upstreams, pair.model)) for _ in range(2)]
    await asyncio.sleep(0.1)
    assert upstreams.calls_under_way() == {"first": 1, "second": 1}
    with pytest.raises(Overloaded):
        await ask(upstreams, pair.model)
    assert {(await call).target.upstream for call in calls} == {"first", "second"}
    assert upstreams.calls_under_way() == {"first": 0, "second": 0}
    await upstreams.stop()


async def test_a_timeout_is_told_by_the_target_that_was_asked_last(
    upstreams: Upstreams, make_pair: Any
) -> None:
    pair = await make_pair()
    pair.first.then(BUSY)
    slow = msgspec.structs.replace(pair.model.targets[1], timeout_seconds=0.2)
    model = msgspec.structs.replace(pair.model, targets=(pair.model.targets[0], slow))
    pair.second.then(stall())
    with pytest.raises(UpstreamTimeout, match=r"within 0\.2 seconds"):
        await ask(upstreams, model)


async def _status_or_failure(upstreams: Upstreams, model: Model) -> int | type[UpstreamError]:
    try:
        return (await ask(upstreams, model)).status
    except UpstreamError as failure:
        return type(failure)
