"""Which keys were asked for lately, so that what is asked for once does not fill the cache.

Bloom filters: a few bits for a key, never a key forgotten before its time, now and then one taken for seen that was
not (which costs the place of one answer). Two take turns, so that old sights fade: in memory after so many keys, in
Redis, where every gateway's sights meet, after an hour or two.
"""

import asyncio
from collections.abc import Collection

from cacheproxy.redis_link import RedisAway, RedisLink, RedisRefused, Script

PROBES = 4
LOCAL_BITS = 1 << 22
"""Of each filter in memory: 512 KiB, for 400,000 keys."""
BITS_PER_KEY = 10
"""When a filter is full it is the other's turn; then about 1 % of new keys are taken for seen."""
SHARED_BITS = 1 << 24
"""Of each filter in Redis: 2 MiB, for 1.6 million keys an hour at 1 %."""
TURN_SECONDS = 3600

_NOTE = Script.of("""
local now, before = 1, 1
for i = 2, #ARGV do
    if redis.call('SETBIT', KEYS[1], ARGV[i], 1) == 0 then now = 0 end
    if redis.call('GETBIT', KEYS[2], ARGV[i]) == 0 then before = 0 end
end
if now == 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return math.max(now, before)
""")


class Sightings:
    """Remembers that keys were seen, here and in Redis where there is one."""

    def __init__(self, link: RedisLink | None, *, local_bits: int = LOCAL_BITS) -> None:
        self._link = link
        self._local_bits = local_bits
        self._filters: tuple[bytearray, bytearray] | None = None
        self._noted = 0

    async def again(self, key: bytes, now_ms: int) -> bool:
        """Return whether an answer's key was seen before, and note that it is."""
        if self._note(key):
            return True
        if self._link is None:
            return False
        turn = now_ms // 1000 // TURN_SECONDS
        names = [b"zerorate:seen:{turns}:%d" % number for number in (turn, turn - 1)]
        try:
            return bool(await self._link.run(_NOTE, names, 2 * TURN_SECONDS, *_places(key, SHARED_BITS)))
        except (RedisAway, RedisRefused):
            return False

    async def among(self, keys: Collection[bytes], now_ms: int) -> frozenset[bytes]:
        """Return those of *keys* that were seen before, and note that all are."""
        seen = await asyncio.gather(*(self.again(key, now_ms) for key in keys))
        return frozenset(key for key, again in zip(keys, seen, strict=True) if again)

    def _note(self, key: bytes) -> bool:
        if self._filters is None:
            self._filters = bytearray(self._local_bits // 8), bytearray(self._local_bits // 8)
        now, before = self._filters
        places = _places(key, self._local_bits)
        if _all_set(now, places):
            return True
        seen = _all_set(before, places)
        for place in places:
            now[place >> 3] |= 1 << (place & 7)
        self._noted += 1
        if self._noted * BITS_PER_KEY >= self._local_bits:
            self._filters, self._noted = (bytearray(self._local_bits // 8), now), 0
        return seen


def _all_set(bits: bytearray, places: Collection[int]) -> bool:
    return all(bits[place >> 3] >> (place & 7) & 1 for place in places)


def _places(key: bytes, bits: int) -> list[int]:
    """Return which bits are a key's: it is a keyed digest in hex, whose digits are as good as random."""
    digits = key[-8 * PROBES :]
    return [int(digits[start : start + 8], 16) % bits for start in range(0, 8 * PROBES, 8)]
