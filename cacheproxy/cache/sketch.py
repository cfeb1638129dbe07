"""How often keys were seen, roughly, in a fixed number of bytes: a count-min sketch. Plain."""

ROWS = 4
PLACES_PER_KEY = 8
"""In each row. With fewer, a list asked over and over, longer than the cache, drives itself out (measured)."""
MAX_COUNT = 255
_HALVED = bytes(count // 2 for count in range(256))


class FrequencySketch:
    """Counts that are never too low but for ageing, and too high where keys share a place in every row.

    G. Cormode, S. Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications", 2005.
    """

    def __init__(self, keys: int) -> None:
        """Make room for the history of a cache of about *keys* keys, in 32 to 64 bytes each."""
        self._mask = (1 << (PLACES_PER_KEY * max(keys, 32)).bit_length()) - 1
        self._rows = [bytearray(self._mask + 1) for _ in range(ROWS)]

    def estimate(self, key: bytes) -> int:
        """Return how often *key* was seen, up to 255."""
        first, second, third, fourth = self._rows
        one, two, three, four = self._places(key)
        return min(first[one], second[two], third[three], fourth[four])

    def raise_to(self, key: bytes, count: int) -> None:
        """Remember that *key* was seen *count* times, unless more is known."""
        count = min(count, MAX_COUNT)
        for row, place in zip(self._rows, self._places(key), strict=True):
            row[place] = max(row[place], count)

    def halve(self) -> None:
        """Let all counts age: about a millisecond for a million of them."""
        self._rows = [row.translate(_HALVED) for row in self._rows]

    def _places(self, key: bytes) -> tuple[int, int, int, int]:
        """Return the key's place in each row, by two halves of one hash (Kirsch and Mitzenmacher, 2006)."""
        digest, mask = hash(key), self._mask
        place, step = digest & 0xFFFFFFFF, digest >> 32 | 1
        return place & mask, place + step & mask, place + 2 * step & mask, place + 3 * step & mask
