"""The local encoder as the gateway asks it."""

import asyncio

import numpy as np
import pytest

from cacheproxy.semantic.errors import EncoderBusy
from cacheproxy.semantic.minilm.encoder import BATCH_TEXTS, MAX_WAITING_TEXTS, LocalEncoder

TEXTS = [f"How many {word} are there in a dozen?" for word in ("eggs", "miles of road", "apples")]


async def test_vectors_have_length_one_and_come_in_order(encoder: LocalEncoder) -> None:
    vectors = await encoder.encode(TEXTS)
    assert vectors.shape == (3, encoder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, [encoder.encode_now([text])[0] for text in TEXTS], atol=1e-6)


def test_more_texts_than_a_batch_come_in_order_too(quantised_encoder: LocalEncoder) -> None:
    texts = [f"{'very ' * (number * 7 % 11)}old question {number}" for number in range(2 * BATCH_TEXTS + 3)]
    vectors = quantised_encoder.encode_now(texts)
    for index in (0, 7, BATCH_TEXTS, len(texts) - 1):
        np.testing.assert_allclose(vectors[index], quantised_encoder.encode_now([texts[index]])[0], atol=1e-6)


def test_no_text_no_vector(quantised_encoder: LocalEncoder) -> None:
    assert quantised_encoder.encode_now([]).shape == (0, 384)


async def test_what_waits_is_answered_each_its_own(encoder: LocalEncoder) -> None:
    first, *others = await asyncio.gather(*(encoder.encode([text]) for text in TEXTS))
    expected = encoder.encode_now(TEXTS)
    np.testing.assert_allclose(np.concatenate([first, *others]), expected, atol=1e-6)


async def test_who_gives_up_does_not_hold_up_the_others(encoder: LocalEncoder) -> None:
    at_work, given_up, kept = (asyncio.create_task(encoder.encode([text])) for text in TEXTS)
    await asyncio.sleep(0)
    given_up.cancel()
    np.testing.assert_allclose(await kept, encoder.encode_now(TEXTS[2:]), atol=1e-6)
    assert (await at_work).shape == (1, 384)
    assert given_up.cancelled()
    assert (await encoder.encode(TEXTS[:1])).shape == (1, 384)


async def test_too_many_waiting_are_refused(encoder: LocalEncoder) -> None:
    at_work = asyncio.create_task(encoder.encode(TEXTS))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(encoder.encode(["again"] * MAX_WAITING_TEXTS))
    await asyncio.sleep(0)
    with pytest.raises(EncoderBusy):
        await encoder.encode(["one more"])
    assert len(await at_work) == 3
    assert len(await waiting) == MAX_WAITING_TEXTS


async def test_a_failure_is_everybodys_who_asked(encoder: LocalEncoder) -> None:
    with pytest.raises(TypeError):
        await encoder.encode([None])  # type: ignore[list-item]
    assert (await encoder.encode(TEXTS[:1])).shape == (1, 384)


def test_texts_beyond_the_bound_are_cut(quantised_encoder: LocalEncoder) -> None:
    long = "word " * 254
    cut, longer = quantised_encoder.encode_now([long, long + "and so on " * 100_000])
    np.testing.assert_allclose(cut, longer, atol=1e-6)
