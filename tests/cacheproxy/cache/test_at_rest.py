"""Bytes outside this process: small where that pays, unreadable where there are keys, and keys can be changed."""

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cache.at_rest import AtRest, Damaged, Foreign
from cacheproxy.cache.sealing import BadKeys, Keyring

TEXT = b"Paris is the capital of France. " * 100
OLD, NEW = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))


def sealing(*keys: str) -> AtRest:
    return AtRest(keyring=Keyring.parse(",".join(keys)))


@given(st.binary(max_size=5000), st.binary(max_size=9), st.booleans(), st.integers(-7, 5))
def test_what_is_wrapped_is_unwrapped(payload: bytes, head: bytes, sealed: bool, level: int) -> None:
    keyring = Keyring({b"a": bytes(32)}) if sealed else None
    at_rest = AtRest(level=level, compress_from_bytes=1000, keyring=keyring)
    assert at_rest.unwrap(b"n", head, at_rest.wrap(b"n", head, payload)) == payload


def test_what_is_large_enough_is_compressed() -> None:
    assert len(AtRest().wrap(b"n", b"", TEXT)) < len(TEXT) // 10
    assert AtRest(compress_from_bytes=len(TEXT) + 1).wrap(b"n", b"", TEXT) == b"\0" + TEXT
    noise = os.urandom(5000)
    assert AtRest().wrap(b"n", b"", noise) == b"\0" + noise


def test_a_level_that_zstd_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="23"):
        AtRest(level=23)


def test_what_is_compressed_is_read_with_any_setting() -> None:
    assert AtRest(compress_from_bytes=1 << 20).unwrap(b"n", b"", AtRest().wrap(b"n", b"", TEXT)) == TEXT


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"\1",
        b"\1not zstd",
        b"\4abc",
        AtRest().wrap(b"n", b"", TEXT)[:-1],
        AtRest().wrap(b"n", b"", TEXT) + b"x",
    ],
)
def test_nonsense_is_damaged(kept: bytes) -> None:
    with pytest.raises(Damaged):
        AtRest().unwrap(b"n", b"", kept)


def test_nothing_can_be_read_of_what_is_sealed() -> None:
    at_rest = sealing(f"old:{OLD}")
    for payload in (TEXT, TEXT[:100]):
        kept = at_rest.wrap(b"n", b"", payload)
        assert b"Paris" not in kept
        assert at_rest.wrap(b"n", b"", payload) != kept, "a nonce is used once"


@given(st.integers(0, 200), st.integers(1, 255))
def test_what_was_tampered_with_does_not_open(place: int, change: int) -> None:
    at_rest = sealing(f"old:{OLD}")
    kept = bytearray(at_rest.wrap(b"n", b"h", TEXT))
    kept[place % len(kept)] ^= change
    with pytest.raises((Damaged, Foreign)):
        at_rest.unwrap(b"n", b"h", bytes(kept))


def test_a_value_opens_under_its_own_name_and_head_only() -> None:
    at_rest = sealing(f"old:{OLD}")
    kept = at_rest.wrap(b"n", b"h", TEXT)
    for name, head in ((b"m", b"h"), (b"n", b"i")):
        with pytest.raises(Damaged):
            at_rest.unwrap(name, head, kept)


def test_keys_are_changed_without_losing_what_is_kept() -> None:
    """A new key is made known everywhere, then seals, and the old one goes when nothing it sealed is left."""
    before, known = sealing(f"old:{OLD}"), sealing(f"old:{OLD}", f"new:{NEW}")
    changed, after = sealing(f"new:{NEW}", f"old:{OLD}"), sealing(f"new:{NEW}")
    kept_before, kept_after = before.wrap(b"n", b"", TEXT), changed.wrap(b"n", b"", TEXT)
    for at_rest in (before, known, changed):
        assert at_rest.unwrap(b"n", b"", kept_before) == TEXT
    for at_rest in (known, changed, after):
        assert at_rest.unwrap(b"n", b"", kept_after) == TEXT
    for at_rest, kept in ((before, kept_after), (after, kept_before)):
        with pytest.raises(Foreign):
            at_rest.unwrap(b"n", b"", kept)


def test_another_key_of_the_same_id_does_not_open() -> None:
    kept = sealing(f"k:{OLD}").wrap(b"n", b"", TEXT)
    with pytest.raises(Damaged):
        sealing(f"k:{NEW}").unwrap(b"n", b"", kept)


def test_what_is_not_sealed_counts_only_where_nothing_is() -> None:
    with pytest.raises(Foreign):
        sealing(f"k:{OLD}").unwrap(b"n", b"", AtRest().wrap(b"n", b"", TEXT))
    with pytest.raises(Foreign):
        AtRest().unwrap(b"n", b"", sealing(f"k:{OLD}").wrap(b"n", b"", TEXT))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "key 1 needs an id"),
        (OLD, "key 1 needs an id|key 1 is no base64|key 1 has 0 bytes"),
        (f":{OLD}", "key 1 needs an id"),
        (f"{'x' * 33}:{OLD}", "up to 32 bytes"),
        (f"a:{OLD},a:{NEW}", "key 2 needs an id of its own"),
        (f"a:{OLD},b:§", "key 2 is no base64"),
        (f"a:{OLD},b:AAAA", "key 2 has 3 bytes; it needs 32"),
    ],
)
def test_bad_keys_are_told_without_telling_them(text: str, problem: str) -> None:
    with pytest.raises(BadKeys, match=problem) as refusal:
        Keyring.parse(text)
    assert OLD not in str(refusal.value)
    assert NEW not in str(refusal.value)
