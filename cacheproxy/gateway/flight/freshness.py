"""Which of the stored answers a call may have, fresh or stale."""

from typing import Literal

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.flight.work import Found, Stale
from cacheproxy.gateway.understanding import Ask


def usable(ask: Ask, stored: StoredAnswer, now_ms: int, tier: Literal["memory", "redis"]) -> Found | None:
    """Return a stored answer as a call gets it at once; None where it is too old for its client or for anybody."""
    if not ask.is_young_enough(stored, now_ms):
        return None
    if now_ms < stored.expires_at_ms:
        return Found(stored, "exact", tier=tier)
    if not stored.may_stand_in(now_ms, ask.stale_seconds):
        return None
    refreshed = stored.may_stand_in(now_ms, ask.facts.rules.policy.stale_while_revalidate_seconds)
    because: Stale = "stale-while-revalidate" if refreshed and ask.may_share else "max-stale"
    return Found(stored, "stale", tier=tier, because=because)


def suits(ask: Ask, found: Found, now_ms: int) -> bool:
    """Return whether what was found for another call may be given to this one."""
    if found.how == "coalesced":
        return True
    if found.how == "stale" and found.because == "stale-if-error":
        return found.stored.may_stand_in(now_ms, ask.stale_if_error_seconds)
    return usable(ask, found.stored, now_ms, found.tier) is not None
