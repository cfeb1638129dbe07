"""What an entry keeps of its question, at rest."""

import base64
import os

import msgspec
import pytest

from cacheproxy.cache.at_rest import AtRest, Damaged, Foreign
from cacheproxy.cache.sealing import Keyring
from cacheproxy.semantic.kept import Keeping, Kept

OLD, NEW = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
CONTEXT, KEY = b"c" * 32, b"k1:one"
QUESTION = Kept("How do I cancel my train ticket?", b"reading of train", b"vector")


def keeping(*keys: str) -> Keeping:
    ring = ",".join(f"{number}:{key}" for number, key in keys_of(keys))
    return Keeping(AtRest(keyring=Keyring.parse(ring) if ring else None))


def keys_of(keys: tuple[str, ...]) -> list[tuple[str, str]]:
    return [({OLD: "old", NEW: "new"}[key], key) for key in keys]


@pytest.mark.parametrize("keys", [(), (OLD,)])
@pytest.mark.parametrize("question", [QUESTION, Kept("長い質問 " * 600, b"r" * 5000, b"")])
def test_what_was_wrapped_is_unwrapped(keys: tuple[str, ...], question: Kept) -> None:
    wrapped = keeping(*keys).wrap(CONTEXT, KEY, question)
    assert keeping(*keys).unwrap(CONTEXT, KEY, wrapped) == question


def test_nothing_of_it_can_be_read_where_there_are_keys() -> None:
    sealed = keeping(OLD).wrap(CONTEXT, KEY, QUESTION)
    assert b"train" not in sealed
    assert b"vector" not in sealed
    assert b"train" in keeping().wrap(CONTEXT, KEY, QUESTION)


def test_keys_are_changed_step_by_step() -> None:
    by_old = keeping(OLD).wrap(CONTEXT, KEY, QUESTION)
    by_new = keeping(NEW, OLD).wrap(CONTEXT, KEY, QUESTION)
    for wrapped in (by_old, by_new):
        assert keeping(NEW, OLD).unwrap(CONTEXT, KEY, wrapped) == QUESTION
    assert keeping(NEW).unwrap(CONTEXT, KEY, by_new) == QUESTION
    with pytest.raises(Foreign):
        keeping(NEW).unwrap(CONTEXT, KEY, by_old)


@pytest.mark.parametrize("place", [(b"d" * 32, KEY), (CONTEXT, b"k1:two"), (CONTEXT + b"\0", KEY)])
def test_a_question_opens_in_its_own_place_only(place: tuple[bytes, bytes]) -> None:
    sealed = keeping(OLD).wrap(CONTEXT, KEY, QUESTION)
    with pytest.raises(Damaged):
        keeping(OLD).unwrap(*place, sealed)


def test_an_answer_does_not_open_as_a_question() -> None:
    keyring = Keyring.parse(f"old:{OLD}")
    answer = AtRest(keyring=keyring).wrap(KEY, b"", msgspec.msgpack.encode(QUESTION))
    with pytest.raises(Damaged):
        keeping(OLD).unwrap(CONTEXT, KEY, answer)


@pytest.mark.parametrize(
    "written", [b"", b"\0", b"\0no message", b"\xffx", b"\0" + msgspec.msgpack.encode([b"a"])]
)
def test_what_another_release_wrote_is_damaged(written: bytes) -> None:
    with pytest.raises(Damaged):
        keeping().unwrap(CONTEXT, KEY, written)


def test_sealed_and_unsealed_do_not_mix() -> None:
    plain, sealed = keeping().wrap(CONTEXT, KEY, QUESTION), keeping(OLD).wrap(CONTEXT, KEY, QUESTION)
    for reader, wrapped in ((keeping(OLD), plain), (keeping(), sealed)):
        with pytest.raises(Foreign):
            reader.unwrap(CONTEXT, KEY, wrapped)
