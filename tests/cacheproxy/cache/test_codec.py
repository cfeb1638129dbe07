"""A stored answer as bytes: the same back under the same key, or nothing."""

import struct
import threading
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.at_rest import APART_FROM_BYTES, AtRest, Damaged
from cacheproxy.cache.codec import AnswerCodec, decode_answer, encode_answer
from cacheproxy.cache.epochs import Tagged
from cacheproxy.cache.sealing import Keyring
from metering.tokens import MAX_COUNT, TokenPools

Make = Callable[..., StoredAnswer]
OPEN = AtRest(compress_from_bytes=200)
SEALED = AtRest(compress_from_bytes=200, keyring=Keyring({b"1": bytes(range(32))}))
WAYS = [OPEN, SEALED]
KEY = b"k1:abc"

counts = st.integers(0, MAX_COUNT)
answers = st.builds(
    StoredAnswer,
    body=st.binary(max_size=300) | st.binary(max_size=3).map(lambda part: 100 * part),
    source_event=st.uuids(),
    stored_at_ms=st.integers(0, 2**50),
    expires_at_ms=st.integers(0, 2**50),
    pools=st.builds(TokenPools, counts, counts, counts, counts, counts),
    output_reasoning=counts,
    units=counts,
    quality=st.sampled_from(["reported", "estimated"]),
    headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=3).map(tuple),
    stale_until_ms=st.integers(0, 2**50),
    took_us=counts,
    tagged=st.none()
    | st.builds(Tagged, counts, counts, st.lists(st.binary(max_size=20), max_size=3).map(tuple)),
    memo=st.none(),
)


@given(st.sampled_from(WAYS), answers)
def test_what_is_written_is_read(at_rest: AtRest, answer: StoredAnswer) -> None:
    assert decode_answer(at_rest, KEY, encode_answer(at_rest, KEY, answer)) == answer


async def read(codec: AnswerCodec, value: bytes) -> tuple[StoredAnswer | None, int, int]:
    """Return what is read, and how much was found damaged or foreign in doing so."""
    before = codec.damaged, codec.foreign
    answer = await codec.read(KEY, value)
    return answer, codec.damaged - before[0], codec.foreign - before[1]


@given(st.sampled_from(WAYS), answers, st.data())
async def test_a_damaged_value_is_no_answer(
    at_rest: AtRest, answer: StoredAnswer, data: st.DataObject
) -> None:
    codec, value = AnswerCodec(at_rest), bytearray(encode_answer(at_rest, KEY, answer))
    shorter = bytes(value[: data.draw(st.integers(0, len(value) - 1))])
    assert await read(codec, shorter) == (None, 1, 0)
    value[data.draw(st.integers(3, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    answer_read, damaged, foreign = await read(codec, bytes(value))
    assert (answer_read, damaged + foreign) == (
        None,
        1,
    )  # another version's, where it is the byte that says so


@given(st.sampled_from(WAYS), st.binary(max_size=400))
async def test_what_only_looks_right_is_no_answer(at_rest: AtRest, rest: bytes) -> None:
    """Bytes with a proper checksum, which no version of this program wrote."""
    value = b"zra5" + struct.pack(">I", zlib.crc32(rest)) + rest
    answer, damaged, foreign = await read(AnswerCodec(at_rest), value)
    assert (answer, damaged + foreign) == (None, 1)


async def test_another_layout_is_told_from_damage() -> None:
    codec = AnswerCodec(OPEN)
    assert await read(codec, b"zra2" + bytes(100)) == (None, 0, 1)
    assert await read(codec, b"zra5" + bytes(100)) == (None, 1, 0)
    assert await read(codec, b"PNG") == (None, 1, 0)
    assert await read(codec, b"") == (None, 1, 0)


@given(st.sampled_from(WAYS), answers)
def test_a_script_finds_the_expiry_where_it_looks(at_rest: AtRest, answer: StoredAnswer) -> None:
    assert encode_answer(at_rest, KEY, answer)[16:24] == answer.expires_at_ms.to_bytes(8)


@given(answers, st.sampled_from([8, 16, 24]))
def test_a_sealed_answer_keeps_its_times_and_its_key(answer: StoredAnswer, place: int) -> None:
    """Whoever can write to Redis can neither let it live longer nor hand it to another question."""
    value = encode_answer(SEALED, KEY, answer)
    with pytest.raises(Damaged):
        decode_answer(SEALED, b"k1:abd", value)
    longer = bytearray(value)
    longer[place : place + 8] = (int.from_bytes(longer[place : place + 8]) + 1).to_bytes(8)
    longer[4:8] = zlib.crc32(longer[8:]).to_bytes(4)
    with pytest.raises(Damaged):
        decode_answer(SEALED, KEY, bytes(longer))


@pytest.mark.parametrize(("size", "apart"), [(APART_FROM_BYTES - 1, False), (APART_FROM_BYTES, True)])
async def test_large_answers_are_coded_in_a_thread(size: int, apart: bool, make_answer: Make) -> None:
    class Watched(AtRest):
        threads: list[bool]

        def wrap(self, name: bytes, head: bytes, payload: bytes) -> bytes:
            self.threads = [threading.current_thread() is threading.main_thread()]
            return super().wrap(name, head, payload)

        def unwrap(self, name: bytes, head: bytes, wrapped: bytes) -> bytes:
            self.threads.append(threading.current_thread() is threading.main_thread())
            return super().unwrap(name, head, wrapped)

    watched, answer = Watched(compress_from_bytes=1 << 30), make_answer(bytes(size))
    codec = AnswerCodec(watched)
    assert await codec.read(KEY, await codec.write(KEY, answer)) == answer
    assert watched.threads[0] is not apart


def test_the_size_of_what_is_kept_is_bounded(make_answer: Make) -> None:
    codec = AnswerCodec(OPEN, max_answer_bytes=10)
    assert codec.takes(make_answer(bytes(10)))
    assert not codec.takes(make_answer(bytes(11)))
