"""Hits in memory without a task: begun while their request is read, answered when the batch of their events is durable.

The same answer as `delivery.py` gives, at half the price: nothing here waits, so there is no coroutine to make, to
switch to and to wake for a call. Whatever needs more than memory and the recorder goes the usual way.
"""

import logging
from collections.abc import Callable
from functools import partial

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.call import Call, Header
from cacheproxy.gateway.errors import GatewayError
from cacheproxy.gateway.flight.delivery import hit_headers
from cacheproxy.gateway.flight.work import Found
from cacheproxy.gateway.recording.event import usage_event
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.understanding import Ask

logger = logging.getLogger(__name__)

Give = Callable[[int, list[Header], bytes], None]
"""Writes a whole answer: status, headers, body."""
Refuse = Callable[[Call, GatewayError], tuple[int, list[Header], bytes]]
Over = Callable[[Call], None]


class AtOnce:
    """Answers calls that memory has the answer for."""

    def __init__(self, recorder: Recorder, *, refuse: Refuse, over: Over) -> None:
        self._recorder = recorder
        self._refuse = refuse
        self._over = over

    def hit(self, ask: Ask, stored: StoredAnswer, give: Give) -> None:
        """Hand the hit's event over; *give* gets the answer once it is durable, or why there is none.

        Raises:
            RecorderUnavailable: too many events wait; nothing has happened.
        """
        event = usage_event(ask, stored, outcome="exact", status=200, source_event=stored.source_event)
        self._recorder.record_then(event, partial(self._end, ask, stored, give))

    def _end(self, ask: Ask, stored: StoredAnswer, give: Give, problem: GatewayError | None) -> None:
        call = ask.call
        if problem is None:
            status, headers, body = 200, hit_headers(ask, Found(stored, "exact"), "exact"), stored.body
            headers = [*stored.headers, *headers]
        else:
            status, headers, body = self._refuse(call, problem)
        call.sign(status, headers)
        try:
            give(status, headers, body)
        except RuntimeError:
            logger.exception("The answer to the call %s could not be written.", call.event_id)
        self._over(call)
