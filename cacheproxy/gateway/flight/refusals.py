"""Refusals that any repetition of a request would meet again, given from memory for a while.

Of one process, small and short-lived: what it saves is an upstream that is asked the same nonsense over and over.
Nobody pays for one, no event is written, and it is given only where the policy of the model says so.
"""

from collections import OrderedDict
from typing import NamedTuple

from cacheproxy.gateway.flight.work import Led, Result
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols.request import Answer

MAX_REFUSALS = 4096
MAX_BODY_BYTES = 16_384


class _Refusal(NamedTuple):
    status: int
    answer: Answer
    expires_at_ms: int


class Refusals:
    """The latest refusals by the keys that their answers would have had; in a pool each tenant has its own."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, _Refusal] = OrderedDict()

    def of(self, ask: Ask) -> Led | None:
        """Return the refusal that this call would meet, as it is to be given; None where nobody knows."""
        if ask.facts.rules.policy.negative is None:
            return None
        key, now_ms = ask.facts.flight, ask.call.now_ms
        if key is None or not ask.may_read:
            return None
        known = self._known.get(key)
        if known is None or known.expires_at_ms <= now_ms:
            return None
        ttl_seconds = (known.expires_at_ms - now_ms) // 1000
        status = b"zerorate; hit; ttl=%d; detail=negative" % ttl_seconds
        return Led(
            known.status, known.answer, [(b"cache-status", status), (b"x-should-retry", b"false")], None
        )

    def note(self, ask: Ask, result: Result, now_ms: int) -> None:
        """Remember a result that is such a refusal; any other result ends one that was."""
        rules, key = ask.facts.rules, ask.facts.flight
        negative = rules.policy.negative
        if negative is None:
            return
        if key is None or not ask.may_store or rules.screen is not None:
            return  # what a screened model says of a request might repeat it
        self._known.pop(key, None)
        if not isinstance(result, Led) or result.status not in negative.statuses:
            return
        if len(result.answer.body) <= MAX_BODY_BYTES:
            self._known[key] = _Refusal(result.status, result.answer, now_ms + 1000 * negative.ttl_seconds)
        if len(self._known) > MAX_REFUSALS:
            self._known.popitem(last=False)
