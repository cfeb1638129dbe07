"""Questions as assistants get them, written for this project: those that the verifier was not trained on, counted.

What fails in them is not looked at: whoever improves the verifier looks at those that it is trained on.
"""

from collections import Counter
from pathlib import Path

from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.training import LabelledPair, load_groups
from cacheproxy.semantic.verifier import Verifier

HELD = Path(__file__).parents[3] / "recordings/verifier_pairs.json"


def test_what_hits_of_pairs_not_trained_on(verifier: Verifier, quantised_encoder: LocalEncoder) -> None:
    pairs = load_groups(HELD)
    texts = sorted({text for pair in pairs for text in (pair.a, pair.b)})
    vectors = dict(zip(texts, quantised_encoder.encode_now(texts), strict=True))
    readings = {text: verifier.read(text, vectors[text]) for text in texts}

    hits = Counter(
        pair.duplicate
        for pair in pairs
        if verifier.judge(readings[pair.a], readings[pair.b], float(vectors[pair.a] @ vectors[pair.b])).score
        >= verifier.threshold
    )

    assert Counter(pair.duplicate for pair in pairs) == {True: 222, False: 576}
    assert hits[True] >= 176
    assert hits[False] <= 96


def test_nothing_is_both_taught_and_held() -> None:
    taught, held = (_texts(load_groups(*path)) for path in ((), (HELD,)))

    assert taught.isdisjoint(held)


def test_groups_are_crossed() -> None:
    same = [pair for pair in load_groups(HELD) if pair.duplicate]

    assert not any(pair.measured for pair in same)
    assert all(pair.a != pair.b for pair in same)
    assert len(same) > len({pair.a for pair in same})


def _texts(pairs: list[LabelledPair]) -> set[str]:
    return {text for pair in pairs for text in pair[:2]}
