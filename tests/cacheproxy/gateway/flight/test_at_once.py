"""Calls without a task of their own: a bug in one of them is that one's alone."""

import asyncio

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.errors import GatewayError, Overloaded
from cacheproxy.gateway.flight.at_once import AtOnce
from cacheproxy.gateway.flight.delivery import Delivery
from cacheproxy.gateway.flight.work import Led, Work
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.protocols.request import Answer, Header
from tests.cacheproxy.gateway.limits.party import SETTINGS, Party

BODY = b'{"model": "small", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'


class Desk:
    """Begins one work for one call, and keeps what the call is given."""

    def __init__(self, *, as_kept: bool = True) -> None:
        ask = Party().ask(BODY)
        self.ask = ask._replace(facts=ask.facts._replace(as_kept=as_kept))
        self.work = Work(self.ask, self.ask.request(), drain_seconds=1, drain_tokens=1)
        self.given: list[tuple[int, bytes]] = []
        self.over: list[Call] = []
        recorder = Recorder(SETTINGS, None)
        delivery = Delivery(recorder, Limits(SETTINGS, None), Metrics())
        self.at_once = AtOnce(recorder, delivery, refuse=_refuse, over=self.over.append)
        self.at_once.lead(self.ask, self.work, self._give)

    def _give(self, status: int, _headers: list[Header], body: bytes) -> None:
        self.given.append((status, body))


def _refuse(_call: Call, problem: GatewayError) -> tuple[int, list[Header], bytes]:
    return problem.status, [], problem.code.encode()


async def test_a_leader_has_its_answer_before_the_work_goes_on() -> None:
    desk = Desk()
    desk.work.end(Led(200, Answer((), b"{}"), (), None, is_whole=True))
    assert desk.given == [(200, b"{}")]
    assert desk.over == [desk.ask.call]


async def test_a_leader_is_told_why_there_is_no_answer() -> None:
    desk = Desk()
    desk.work.fail(Overloaded())
    assert desk.given == [(Overloaded.status, Overloaded.code.encode())]


async def test_a_bug_is_answered_and_ends_nothing_else() -> None:
    desk = Desk(as_kept=False)  # so that the answer is to be written as a stream, which it cannot be
    desk.work.end(Led(200, Answer((), b"no JSON"), (), None, is_whole=True))
    await asyncio.sleep(0)
    assert desk.given == [(500, b"internal_error")]
    assert desk.over == [desk.ask.call]
