"""The graph's vectors against the same model in NumPy, and the quantised graph's against the exact one's."""

import itertools

import numpy as np
import pytest

from cacheproxy.semantic.minilm.encoder import LocalEncoder
from tests.cacheproxy.semantic.minilm.reference import Reference

QUESTIONS = [
    "How many kilometres are 10 miles?",
    "How many miles are 10 kilometres?",
    "What is 10 miles in km?",
    "How do I reset my password?",
    "I have forgotten my password. How do I get a new one?",
    "How do I change my e-mail address?",
    "Is it safe to eat raw eggs?",
    "Is it unsafe to eat raw eggs?",
    "Can one eat eggs that are not cooked?",
    "Which train goes from Paris to London?",
    "Which train goes from London to Paris?",
    "Trains to London that leave from Paris",
    "What is the capital of France?",
    "Name France's capital.",
    "What is the capital of Spain?",
    "法国的首都是哪里？",
    "def add(a, b): return a + b",
    "Hi",
    "",
    "antidisestablishmentarianism " * 100,
]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.mark.parametrize("text", QUESTIONS)
def test_the_graph_is_the_model(exact_encoder: LocalEncoder, reference: Reference, text: str) -> None:
    (vector,) = exact_encoder.encode_now([text])
    assert np.abs(vector - reference.vector(text)).max() < 1e-6


def test_neighbours_in_a_batch_change_nothing(quantised_encoder: LocalEncoder) -> None:
    together = quantised_encoder.encode_now(QUESTIONS)
    alone = np.concatenate([quantised_encoder.encode_now([text]) for text in QUESTIONS])
    assert np.abs(together - alone).max() < 1e-6


def test_eight_bits_point_the_same_way(exact_encoder: LocalEncoder, quantised_encoder: LocalEncoder) -> None:
    exact, quantised = (each.encode_now(QUESTIONS) for each in (exact_encoder, quantised_encoder))
    assert (exact * quantised).sum(axis=1).min() > 0.998


def test_eight_bits_rank_pairs_alike(exact_encoder: LocalEncoder, quantised_encoder: LocalEncoder) -> None:
    exact, quantised = (
        [float(left @ right) for left, right in itertools.combinations(each.encode_now(QUESTIONS), 2)]
        for each in (exact_encoder, quantised_encoder)
    )
    ranks = [np.argsort(np.argsort(cosines)) for cosines in (exact, quantised)]
    assert np.corrcoef(ranks[0], ranks[1])[0, 1] > 0.999  # Spearman's
    assert np.abs(np.subtract(exact, quantised)).max() < 0.02
