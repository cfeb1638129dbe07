"""The model that ships: what it takes, what it gives, and that it is the one on its card."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cacheproxy.semantic.budget.rules import LEAST_SCORE
from cacheproxy.semantic.errors import InvalidVerifier, StaleReading
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.tier import Judge
from cacheproxy.semantic.verifier import DEFAULT_MODEL, Reading, Verifier

QUESTION = "How do I reset my password?"
REWORDED = "What is the way to reset a forgotten password?"
OTHER = "What is the capital of Peru?"


def readings(
    verifier: Verifier, encoder: LocalEncoder, *texts: str
) -> tuple[list[Reading], NDArray[np.float32]]:
    vectors = encoder.encode_now(texts)
    found = [verifier.read(text, vector) for text, vector in zip(texts, vectors, strict=True)]
    return found, vectors @ vectors.T


def test_it_is_a_judge(verifier: Verifier, quantised_encoder: LocalEncoder) -> None:
    judge: Judge[Reading] = verifier

    assert judge.encoder == quantised_encoder.name


def test_a_repetition_scores_high_and_another_question_low(
    verifier: Verifier, quantised_encoder: LocalEncoder
) -> None:
    (new, reworded, other), cosines = readings(verifier, quantised_encoder, QUESTION, REWORDED, OTHER)

    same = verifier.judge(new, new, 1.0)
    likely = verifier.judge(reworded, new, float(cosines[1, 0]))
    unlike = verifier.judge(new, other, float(cosines[0, 2]))

    assert same.score > 0.95
    assert verifier.threshold < likely.score <= 1
    assert unlike.score < 0.1


def test_it_does_not_matter_which_is_stored(verifier: Verifier, quantised_encoder: LocalEncoder) -> None:
    (new, reworded), cosines = readings(verifier, quantised_encoder, QUESTION, REWORDED)
    cosine = float(cosines[0, 1])

    forth, back = verifier.judge(new, reworded, cosine), verifier.judge(reworded, new, cosine)

    assert forth.score == pytest.approx(back.score, abs=1e-6)


def test_what_a_guard_refuses_scores_nothing(verifier: Verifier, quantised_encoder: LocalEncoder) -> None:
    (one, two), cosines = readings(
        verifier, quantised_encoder, "a hotel for two people", "a hotel for five people"
    )

    assert verifier.judge(one, two, float(cosines[0, 1])) == (0.0, "number")


def test_a_reading_is_kept_in_a_few_hundred_bytes(
    verifier: Verifier, quantised_encoder: LocalEncoder
) -> None:
    (reading,), _ = readings(verifier, quantised_encoder, QUESTION)

    packed = reading.pack()

    assert Reading.unpack(packed) == reading
    assert len(packed) < 500


def test_a_reading_of_another_release_is_stale(verifier: Verifier, quantised_encoder: LocalEncoder) -> None:
    (reading,), _ = readings(verifier, quantised_encoder, QUESTION)
    older = Reading(reading.format - 1, reading.question, reading.sketch)

    with pytest.raises(StaleReading, match="format"):
        Reading.unpack(older.pack())


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x90", b"\x93\x02\x90\xa0"])
def test_what_is_no_reading_is_stale(packed: bytes) -> None:
    with pytest.raises(StaleReading):
        Reading.unpack(packed)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidVerifier, match=r"none\.npz"):
        Verifier.load(tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"no model", DEFAULT_MODEL.read_bytes()[:5000]])
def test_a_broken_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(content)

    with pytest.raises(InvalidVerifier):
        Verifier.load(path)


def test_a_model_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.npz"
    np.savez(path, format=np.array(0))

    with pytest.raises(InvalidVerifier, match="format 0"):
        Verifier.load(path)


def test_the_card_is_that_of_the_model(verifier: Verifier) -> None:
    card = DEFAULT_MODEL.with_suffix(".md").read_text()

    assert hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest() in card
    assert f"`{verifier.encoder}`" in card
    assert f"| default threshold | {verifier.threshold:.4f} |" in card
    assert DEFAULT_MODEL.stat().st_size < 2_000_000


def test_no_hit_below_what_is_ever_served(verifier: Verifier) -> None:
    assert LEAST_SCORE <= verifier.threshold < 1


@pytest.mark.parametrize(("share", "questions", "pairs"), [(25, 6.3, 4.9), (10, 2.7, 2.2)])
def test_the_card_says_that_few_hits_are_wrong(share: int, questions: float, pairs: float) -> None:
    card = DEFAULT_MODEL.with_suffix(".md").read_text()
    row = re.search(rf"^\| {share}% \| [\d.]+ \| ([\d.]+) \| ([\d.]+) \|", card, re.MULTILINE)

    assert row is not None
    assert float(row[1]) <= questions
    assert float(row[2]) <= pairs
