"""What an entry keeps of its question: sealed where answers are, and opened in its own place only. Plain."""

import msgspec

from cacheproxy.cache.at_rest import AtRest, Damaged


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """A question as it is compared, and found by its text."""

    text: str
    reading: bytes
    """What the judge knows of it."""
    judged: bytes
    """Where a remote encoder's vectors are searched, the judge's own; else nothing."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


class Keeping:
    """A way of keeping questions."""

    def __init__(self, at_rest: AtRest) -> None:
        self._at_rest = at_rest

    def wrap(self, context: bytes, answer_key: bytes, kept: Kept) -> bytes:
        """Return *kept* as the entry of that context and key is to have it."""
        return self._at_rest.wrap(_name(context, answer_key), b"", _encode(kept))

    def unwrap(self, context: bytes, answer_key: bytes, question: bytes) -> Kept:
        """Return what was wrapped for that entry.

        Raises:
            Foreign: it was sealed with a key that is not known here, or it is not sealed where questions are.
            Damaged: it is another entry's, or another release wrote it.
        """
        payload = self._at_rest.unwrap(_name(context, answer_key), b"", question)
        try:
            return _decode(payload)
        except msgspec.DecodeError as problem:
            raise Damaged from problem


def _name(context: bytes, answer_key: bytes) -> bytes:
    """Return what no answer is ever sealed under, so that neither opens in place of the other."""
    return b"question\0%b\0%b" % (context, answer_key)
