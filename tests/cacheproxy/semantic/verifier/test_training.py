"""Training: the same seed, the same bytes; and nothing is judged by a model that has seen it."""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from cacheproxy.semantic.card import Limits, Traffic
from cacheproxy.semantic.knowledge import Floats
from cacheproxy.semantic.lexicon import in_order
from cacheproxy.semantic.trainer import Plan, train
from cacheproxy.semantic.training import (
    LabelledPair,
    calibrated,
    calibration,
    cross_validate,
    grouped,
    load_groups,
    load_pairs,
    prepare,
    vocabulary,
)
from cacheproxy.semantic.verifier import Verifier

VERBS = in_order("open close pay send find sort print reset cancel order paint move")
THINGS = in_order("account invoice parcel list photo password subscription table fence sofa ticket report")
TRAFFIC = Traffic(rewordings=0.2, near_misses=0.05)


class WordsEncoder:
    """Gives a text the mean of its words' random vectors."""

    name = "words"

    def encode_now(self, texts: Sequence[str]) -> Floats:
        vectors = [
            np.mean(
                [np.random.default_rng(crc32(word.encode())).normal(0.5, size=64) for word in text.split()], 0
            )
            for text in texts
        ]
        return np.array([vector / np.linalg.norm(vector) for vector in vectors], np.float32)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Give a file of made-up pairs: those of one thing are the same."""
    random = np.random.default_rng(1)
    rows = []
    for number in range(900):
        verb, other = random.choice(VERBS, 2, replace=False)
        thing, another = random.choice(THINGS, 2, replace=False)
        group = "".join(chr(ord("a") + int(digit)) for digit in str(1000 + number // 3))
        same = number % 3 == 0
        b = (
            f"What is the way to {verb} a {thing} {group}?"
            if same
            else f"Why {other} the {another} {group} today?"
        )
        rows.append({"a": f"How do I {verb} my {thing} {group}?", "b": b, "duplicate": int(same)})
    path = tmp_path / "pairs.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """Give a file of one group: three wordings of a question, and another one."""
    path = tmp_path / "groups.json"
    group = {
        "same": ["pay a fee", "a fee is paid", "how fees get paid"],
        "different": [{"text": "print a fee"}],
    }
    path.write_text(json.dumps({"groups": [group]}))
    return path


def test_the_same_seed_makes_the_same_bytes(pairs: Path, groups: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / name / "model.npz" for name in ("one", "two", "other")]
    for output, seed in zip(outputs, (7, 7, 8), strict=True):
        output.parent.mkdir()
        plan = Plan(
            pairs=pairs,
            source="made-up pairs",
            taught=groups,
            seed=seed,
            folds=2,
            traffic=TRAFFIC,
            limits=Limits(0.01, 0.05),
            least=0.7,
            output=output,
            plot=None,
            vectors=tmp_path / "vectors",
        )
        train(plan, [*VERBS, *THINGS] * 3, WordsEncoder(), lambda line: None)
    one, two, other = (output.read_bytes() for output in outputs)

    assert one == two
    assert one != other
    assert Verifier.load(outputs[0]).encoder == "words"
    cards = [output.with_suffix(".md").read_text() for output in outputs]
    assert cards[0] == cards[1]


def test_groups_teach_and_are_not_measured(pairs: Path, groups: Path, tmp_path: Path) -> None:
    taught = load_groups(groups)
    lesson = prepare(
        [*taught, *load_pairs(pairs)], [*VERBS, *THINGS], WordsEncoder(), tmp_path, lambda line: None
    )

    logits = cross_validate(lesson, 2, 1, lambda line: None)

    assert Counter(pair.duplicate for pair in taught) == {True: 3, False: 3}
    assert len(logits) == lesson.measured == 900
    assert len(lesson.labels) == 906
    assert lesson.survey.landmarks.max() < 900


def test_pairs_that_share_a_text_through_others_are_one_group() -> None:
    pairs = [
        LabelledPair("a", "b", True),
        LabelledPair("c", "d", True),
        LabelledPair("B ", "c", False),
        LabelledPair("e", "f", True),
    ]

    groups = grouped(pairs)

    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_pairs_are_read_compressed_or_not(pairs: Path, tmp_path: Path) -> None:
    plain = tmp_path / "pairs.jsonl"
    plain.write_bytes(gzip.decompress(pairs.read_bytes()))

    assert load_pairs(plain) == load_pairs(pairs)
    assert len(load_pairs(plain)) == 900


def test_scores_are_calibrated_for_the_traffic() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=20_000).astype(np.float32)
    labels = random.random(20_000) < 1 / (1 + np.exp(-2 * logits))

    slope, shift = calibration(logits, labels, TRAFFIC)
    scores = calibrated(logits, slope, shift)

    odds = (TRAFFIC.rewordings / labels.sum()) / (TRAFFIC.near_misses / (~labels).sum())
    assert slope == pytest.approx(2, rel=0.1)
    assert shift == pytest.approx(np.log(odds), abs=0.1)
    assert ((scores > 0) & (scores < 1)).all()


def test_what_a_guard_refused_scores_nothing() -> None:
    assert calibrated(np.array([-np.inf, 0.0], np.float32), 1.0, 0.0).tolist() == [0.0, 0.5]


def test_only_whole_words_are_known_by_heart(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": {"[CLS]": 0, "##ing": 1, "word": 2, "é": 3, "a": 4}}}))

    assert list(vocabulary(path)) == ["word"]
