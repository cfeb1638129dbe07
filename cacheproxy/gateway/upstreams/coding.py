"""Bodies that come compressed although nobody asked for it: gzip and deflate, as far as is allowed, never further."""

import zlib

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
CODINGS = frozenset((b"gzip", b"x-gzip", b"deflate"))


class BadCoding(ValueError):
    """The body is not what its content-encoding says."""


class Inflater:
    """Decompresses one body, part by part."""

    def __init__(self, coding: bytes) -> None:
        self._is_known = coding.lower() in CODINGS
        self._stream = zlib.decompressobj(GZIP_OR_ZLIB)
        self._began = False

    def feed(self, part: bytes, max_bytes: int) -> bytes:
        """Return what *part* adds to the body, of which more than *max_bytes* is cut off.

        Raises:
            BadCoding: it is not compressed, or not in a way that is known, or something follows the end.
        """
        if not self._is_known:
            raise BadCoding("the body has a content encoding that was not asked for")
        self._began = True
        try:
            plain = self._stream.decompress(part, max_bytes)
        except zlib.error as problem:
            raise BadCoding("the body is not compressed as it says") from problem
        if self._stream.unused_data:
            raise BadCoding("something follows the compressed body")
        return plain

    def end(self) -> None:
        """Take note that there is no more.

        Raises:
            BadCoding: there should be.
        """
        if self._began and not self._stream.eof:
            raise BadCoding("the compressed body is cut short")
