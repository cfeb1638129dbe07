"""An answer to keep."""

import uuid
from collections.abc import Callable

import pytest

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.at_rest import AtRest
from cacheproxy.cache.codec import AnswerCodec
from metering.tokens import TokenPools

NOW_MS = 1_800_000_000_000


def make_codec() -> AnswerCodec:
    """Return a codec as the gateway has it by default."""
    return AnswerCodec(AtRest())


@pytest.fixture
def make_answer() -> Callable[..., StoredAnswer]:
    """Return a maker of answers that live for a minute from ``NOW_MS``."""

    def make(body: bytes = b"{}", lifetime_ms: int = 60_000, stale_ms: int = 0) -> StoredAnswer:
        return StoredAnswer(
            body=body,
            source_event=uuid.uuid4(),
            stored_at_ms=NOW_MS,
            expires_at_ms=NOW_MS + lifetime_ms,
            pools=TokenPools(input=3, output=2),
            output_reasoning=0,
            units=0,
            quality="reported",
            stale_until_ms=NOW_MS + lifetime_ms + stale_ms if stale_ms else 0,
        )

    return make
