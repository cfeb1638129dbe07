"""Why the cache had no answer for a call, as far as this gateway can tell."""

from cacheproxy.cache.lineages import Lineages
from cacheproxy.cache.memory import MemoryCache
from cacheproxy.gateway.telemetry.tally import Reason
from cacheproxy.gateway.understanding import Ask


class Absences:
    """Looks into each call for which an upstream is asked, off the way of hits."""

    def __init__(self, memory: MemoryCache) -> None:
        self._memory = memory
        self._lineages = Lineages()

    def explain(self, ask: Ask, key: bytes | None) -> None:
        """Tell the call why there was nothing for it under *key*: its own, or that of an item of its batch."""
        ask.call.absence = self._reason(ask, key)

    def _reason(self, ask: Ask, key: bytes | None) -> Reason:
        if key is None:
            return "policy"
        if not ask.controls.may_read:
            return "client"
        absence = self._memory.why_absent(key, ask.call.now_ms)
        moved = self._moved(ask)
        if ask.facts.pool is not None:  # what became of another tenant's answer is nobody else's business
            return moved or "never_seen"
        if absence is None:  # there is one, but too old for this client, or with a tag that was invalidated
            return "client" if ask.controls.limits_age else "invalidated"
        if absence == "never_seen":
            return moved or "never_seen"
        return "invalidated" if absence == "discarded" else absence

    def _moved(self, ask: Ask) -> Reason | None:
        facts, controls = ask.facts, ask.controls
        assert facts.key is not None, "a call with a key has one"
        return self._lineages.note(
            (ask.caller.access.api_key_id, ask.call.path, controls.session, controls.namespace, ask.body),
            reading=(facts.model.version, facts.model.upstream_digest, facts.rules.reading),
            key=facts.key,
        )
