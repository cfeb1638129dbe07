"""Calls without a task of their own: begun while they are read, answered in the callback of what they wait for.

Hits in memory, when the batch of their events is durable; and plain questions that lead a work, when that has ended.
The same answers as `delivery.py` gives, for less: there is no coroutine to make, to switch to and to wake. Whatever may
have to wait for more than that goes the usual way.
"""

import logging
from asyncio import Future
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from cacheproxy.gateway.call import Call, Header
from cacheproxy.gateway.errors import GatewayError, InternalError
from cacheproxy.gateway.flight.delivery import Delivery, hit_answer, hit_event, led_answer
from cacheproxy.gateway.flight.work import Found, Led, Result, Work
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.telemetry.current import current_call
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols.request import Answer

logger = logging.getLogger(__name__)

Give = Callable[[int, list[Header], bytes], None]
"""Writes a whole answer: status, headers, body."""
Refuse = Callable[[Call, GatewayError], tuple[int, list[Header], bytes]]
Over = Callable[[Call], None]
Source = TypeVar("Source", Found, Led)
AnswerOf = Callable[[Ask, Source], tuple[list[Header], Answer]]


class AtOnce:
    """Answers calls that nothing limits: no rate, no budget, no key of idempotency."""

    def __init__(self, recorder: Recorder, delivery: Delivery, *, refuse: Refuse, over: Over) -> None:
        self._recorder = recorder
        self._delivery = delivery
        self._refuse = refuse
        self._over = over

    def hit(self, ask: Ask, found: Found, give: Give) -> None:
        """Hand the hit's event over; *give* gets the answer once it is durable, or why there is none.

        Raises:
            GatewayError: it cannot be recorded; nothing has happened.
        """
        self._recorder.record_then(hit_event(ask, found), partial(self._end_hit, ask, found, give))

    def lead(self, ask: Ask, work: Work, give: Give) -> None:
        """Let *give* have what *work*, which *ask* leads, comes to."""
        leave = self._delivery.listen(work, ask)
        work.on_end = partial(self._end_work, ask, give, leave, work.result)

    def _end_hit(self, ask: Ask, found: Found, give: Give, problem: GatewayError | None) -> None:
        if problem is None:
            self._give(ask, give, 200, hit_answer, found)
        else:
            self._fail(ask, give, problem)

    def _end_work(self, ask: Ask, give: Give, leave: Callable[[], None], ended: Future[Result]) -> None:
        leave()
        problem = ended.exception()
        if isinstance(problem, GatewayError):
            self._fail(ask, give, problem)
            return
        result = ended.result()
        if not isinstance(result, Found):
            self._give(ask, give, result.status, led_answer, result)
        elif ask.call.gone:  # who has gone before it came gets and pays nothing
            self._over(ask.call)
        else:
            try:
                self.hit(ask, result, give)
            except GatewayError as failure:
                self._fail(ask, give, failure)

    def _give(self, ask: Ask, give: Give, status: int, answer_of: AnswerOf[Source], source: Source) -> None:
        try:
            headers, answer = answer_of(ask, source)
        except Exception:  # a bug of ours: this client gets a proper answer, and others their own
            logger.exception("The call %s failed inside the gateway.", ask.call.event_id)
            self._fail(ask, give, InternalError())
        else:
            self._end(ask, give, status, headers, answer)

    def _end(self, ask: Ask, give: Give, status: int, headers: list[Header], answer: Answer) -> None:
        call = ask.call
        context = current_call.set(call)  # for who logs
        call.sign(status, headers)
        try:
            give(status, headers, answer.body)
        except RuntimeError:
            logger.exception("The answer to the call %s could not be written.", call.event_id)
        finally:
            self._over(call)
            current_call.reset(context)

    def _fail(self, ask: Ask, give: Give, problem: GatewayError) -> None:
        status, headers, body = self._refuse(ask.call, problem)
        self._end(ask, give, status, headers, Answer((), body))
