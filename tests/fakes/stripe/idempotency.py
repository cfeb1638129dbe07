"""Stripe's rule for `Idempotency-Key`: the first answer is kept and replayed, changed parameters are refused.

Answers are kept whether they succeeded or not, once the endpoint has begun; a request that fails validation
spends no key. See https://docs.stripe.com/api/idempotent_requests.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.fakes.stripe.errors import RefusedError

KEY_MAX = 255


class Answer(NamedTuple):
    """What goes back over the wire."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


class _Kept(NamedTuple):
    fingerprint: object
    answer: Answer


class IdempotencyKeys:
    """The keys an account has seen; Stripe forgets them after a day, this fake when told to."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def forget(self) -> None:
        """Forget every key, as Stripe does at least 24 hours after its first use."""
        self._kept.clear()

    def answer(self, key: str | None, fingerprint: object, work: Callable[[], dict[str, Any]]) -> Answer:
        """Return the kept answer of `key`, or do the work and keep its answer."""
        if key is None:
            return _attempt(work)[0]
        if len(key) > KEY_MAX:
            return _refused(f"Idempotency keys take at most {KEY_MAX} characters.")
        if key in self._kept:
            return self._replay(key, fingerprint)
        answer, executed = _attempt(work)
        if executed:
            self._kept[key] = _Kept(fingerprint, answer)
        return answer

    def _replay(self, key: str, fingerprint: object) -> Answer:
        kept = self._kept[key]
        if kept.fingerprint != fingerprint:
            return _refused(
                "Keys for idempotent requests can only be used with the same parameters "
                f"they were first used with. '{key}' was used for a different request."
            )
        return kept.answer._replace(replayed=True)


def _attempt(work: Callable[[], dict[str, Any]]) -> tuple[Answer, bool]:
    try:
        return Answer(200, work()), True
    except RefusedError as refusal:
        return Answer(refusal.status, refusal.body), refusal.executed


def _refused(message: str) -> Answer:
    return Answer(400, RefusedError(message, kind="idempotency_error").body)
