"""A stored answer as bytes: the same back, or nothing."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cache.answer import StoredAnswer, decode_answer, encode_answer, is_of_another_layout
from cacheproxy.cache.epochs import Tagged
from metering.tokens import MAX_COUNT, TokenPools

counts = st.integers(0, MAX_COUNT)
answers = st.builds(
    StoredAnswer,
    body=st.binary(max_size=300),
    source_event=st.uuids(),
    stored_at_ms=st.integers(0, 2**50),
    expires_at_ms=st.integers(0, 2**50),
    pools=st.builds(TokenPools, counts, counts, counts, counts, counts),
    output_reasoning=counts,
    units=counts,
    quality=st.sampled_from(["reported", "estimated"]),
    headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=3).map(tuple),
    stale_until_ms=st.integers(0, 2**50),
    tagged=st.none()
    | st.builds(Tagged, counts, counts, st.lists(st.binary(max_size=20), max_size=3).map(tuple)),
    memo=st.none(),
)


@given(answers)
def test_what_is_written_is_read(answer: StoredAnswer) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@given(answers, st.data())
def test_a_damaged_value_is_no_answer(answer: StoredAnswer, data: st.DataObject) -> None:
    value = bytearray(encode_answer(answer))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode_answer(bytes(value)) is None
    assert decode_answer(bytes(value[: data.draw(st.integers(0, len(value) - 1))])) is None


def test_strange_bytes_are_no_answer() -> None:
    assert decode_answer(b"") is None
    assert decode_answer(b"zra3") is None
    assert decode_answer(uuid.uuid4().bytes * 20) is None


def test_another_layout_is_told_from_damage() -> None:
    assert is_of_another_layout(b"zra1" + bytes(100))
    assert not is_of_another_layout(b"zra3" + bytes(100))
    assert not is_of_another_layout(b"PNG")


@given(answers)
def test_a_script_finds_the_expiry_where_it_looks(answer: StoredAnswer) -> None:
    assert encode_answer(answer)[16:24] == answer.expires_at_ms.to_bytes(8)
