import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.cache.key import KEY_VERSION, answer_key

PARTS: dict[str, Any] = {
    "secret": b"s" * 32,
    "scope": b"tenant:1",
    "model": "qwen-small",
    "version": "1",
    "upstream_digest": b"u" * 32,
    "surface": "chat.completions",
    "canonical": b'{"messages":[]}',
}


def test_a_key_never_changes_between_versions_of_the_code() -> None:
    parts = [b"k1", b"tenant:1", b"qwen-small", b"1", b"u" * 32, b"chat.completions", b'{"messages":[]}']
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert answer_key(**PARTS) == b"k1:" + hmac.new(b"s" * 32, framed, hashlib.sha256).hexdigest().encode()
    assert answer_key(**PARTS).startswith(KEY_VERSION.encode())


@pytest.mark.parametrize("part", PARTS)
def test_every_part_decides(part: str) -> None:
    assert answer_key(**{**PARTS, part: PARTS[part] * 2}) != answer_key(**PARTS)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
parts = st.fixed_dictionaries(
    {
        "scope": st.binary(max_size=4),
        "model": words,
        "version": words,
        "surface": words,
        "canonical": st.binary(max_size=4),
    }
)


@settings(deadline=None)
@given(parts, parts)
def test_different_parts_never_run_together(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (answer_key(**{**PARTS, **one}) == answer_key(**{**PARTS, **other})) == (one == other)


def test_bytes_cannot_move_from_one_part_to_the_next() -> None:
    one = answer_key(**{**PARTS, "model": "ab", "version": "c"})
    assert one != answer_key(**{**PARTS, "model": "a", "version": "bc"})


@pytest.mark.parametrize("secret", [b"", b"s" * 15])
def test_a_secret_too_short_to_keep_tenants_apart_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match="is too short"):
        answer_key(**{**PARTS, "secret": secret})
