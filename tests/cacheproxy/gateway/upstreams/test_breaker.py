"""The circuit breaker, by a clock of the tests' own."""

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.gateway.upstreams.breaker import Breaker

OPEN_SECONDS = 10.0


def opened(now: float = 0.0) -> Breaker:
    """Return a breaker that has just opened."""
    breaker = Breaker(3, OPEN_SECONDS)
    for _ in range(3):
        breaker.failed(breaker.begin(), now)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(3, OPEN_SECONDS)
    for _ in range(2):
        breaker.failed(breaker.begin(), 0)
    assert breaker.state(0) == "closed"
    breaker.failed(breaker.begin(), 0)
    assert breaker.state(0) == "open"
    assert not breaker.admits(OPEN_SECONDS - 0.001)
    assert breaker.wait_seconds(4) == 6


def test_a_whole_answer_between_failures_starts_the_count_again() -> None:
    breaker = Breaker(3, OPEN_SECONDS)
    for _ in range(5):
        breaker.failed(breaker.begin(), 0)
        breaker.failed(breaker.begin(), 0)
        breaker.succeeded(breaker.begin())
    assert breaker.state(0) == "closed"


def test_heads_alone_do_not_start_the_count_again() -> None:
    """A server that breaks every answer off after its head is not well."""
    breaker = Breaker(3, OPEN_SECONDS)
    for _ in range(3):
        ticket = breaker.begin()
        breaker.answered(ticket)
        breaker.failed(ticket, 0)
    assert breaker.state(0) == "open"


def test_one_probe_at_a_time_tries_it_again() -> None:
    breaker = opened()
    assert breaker.state(OPEN_SECONDS) == "half_open"
    assert breaker.admits(OPEN_SECONDS)
    probe = breaker.begin()
    assert not breaker.admits(OPEN_SECONDS)
    breaker.abandoned(probe)
    assert breaker.admits(OPEN_SECONDS)
    breaker.failed(breaker.begin(), OPEN_SECONDS)
    assert breaker.state(OPEN_SECONDS) == "open"
    assert not breaker.admits(2 * OPEN_SECONDS - 0.001)
    assert breaker.admits(2 * OPEN_SECONDS)


def test_the_probes_head_closes_it_and_one_more_failure_opens_it_again() -> None:
    breaker = opened()
    breaker.answered(breaker.begin())
    assert breaker.state(OPEN_SECONDS) == "closed"
    breaker.failed(breaker.begin(), OPEN_SECONDS)
    assert breaker.state(OPEN_SECONDS) == "open"


def test_a_whole_answer_makes_it_sound() -> None:
    breaker = opened()
    breaker.succeeded(breaker.begin())
    for _ in range(2):
        breaker.failed(breaker.begin(), OPEN_SECONDS)
    assert breaker.state(OPEN_SECONDS) == "closed"


def test_calls_from_before_it_opened_say_nothing() -> None:
    breaker = Breaker(3, OPEN_SECONDS)
    early = [breaker.begin() for _ in range(6)]
    for ticket in early[:4]:
        breaker.failed(ticket, 0)
    breaker.answered(early[4])
    breaker.succeeded(early[5])
    assert breaker.state(0) == "open"
    assert (breaker.openings, breaker.wait_seconds(0)) == (1, OPEN_SECONDS)

    probe = breaker.begin()
    breaker.abandoned(early[0])
    assert not breaker.admits(OPEN_SECONDS)
    breaker.answered(probe)
    assert breaker.state(OPEN_SECONDS) == "closed"


@given(st.lists(st.tuples(st.sampled_from("basfx"), st.integers(0, 5), st.integers(0, 7)), max_size=80))
def test_whatever_happens_there_is_one_probe_and_a_way_back(steps: list[tuple[str, int, int]]) -> None:
    breaker, now, tickets = Breaker(2, OPEN_SECONDS), 0.0, []
    for step, number, seconds in steps:
        now += seconds
        if step == "b":
            if breaker.admits(now):
                was_open = breaker.state(now) != "closed"
                tickets.append(breaker.begin())
                assert not was_open or not breaker.admits(now)
        elif tickets:
            ticket = tickets.pop(number % len(tickets))
            match step:
                case "a":
                    breaker.answered(ticket)
                case "s":
                    breaker.succeeded(ticket)
                case "f":
                    breaker.failed(ticket, now)
                case _:
                    breaker.abandoned(ticket)
    for ticket in tickets:
        breaker.abandoned(ticket)
    assert breaker.admits(now + OPEN_SECONDS)
