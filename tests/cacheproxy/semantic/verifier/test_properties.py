"""What holds for any two texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantic.features import figures
from cacheproxy.semantic.guards import GUARDS, refused_by
from cacheproxy.semantic.lexicon import words
from cacheproxy.semantic.question import MAX_CHARACTERS, read
from cacheproxy.semantic.verifier import Verifier
from tests.cacheproxy.semantic.verifier.pairs import pair

WORDS = sorted(
    words(
        "the a my how do i not never can you he she reset open close buy sell Paris London Alice from to before after"
        " under 3 12.5 seven km miles $ 2024-01-02 Monday next week cat dogs `x=1` foo() C++ legal illegal 退款 不 三天"
        " und nicht"
    )
)
sentences = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
texts = st.one_of(st.text(max_size=200), sentences)


@given(texts)
def test_a_text_is_itself(text: str) -> None:
    assert refused_by(pair(text, text)) is None


@given(texts, texts)
def test_it_does_not_matter_which_is_stored(new: str, stored: str) -> None:
    forth, back = pair(new, stored), pair(stored, new)

    assert {word: passes(forth) for word, passes in GUARDS.items()} == {
        word: passes(back) for word, passes in GUARDS.items()
    }


@pytest.mark.parametrize("text", ["", " ", "?", "\0", "\ud800", "’'’", "́", "𝟙𝟚 ½ Ⅳ", "$" * 400, "٣ كم"])
def test_no_text_is_too_odd(text: str) -> None:
    assert refused_by(pair(text, text)) is None
    assert read(text) == read(text)


def test_what_lies_far_out_is_not_read() -> None:
    assert read("a " * MAX_CHARACTERS) == read("a " * 2 * MAX_CHARACTERS)


@given(texts, texts)
def test_the_figures_of_a_pair_are_the_same_both_ways(verifier: Verifier, new: str, stored: str) -> None:
    nowhere = np.zeros(2, np.float32), np.zeros(2, np.float32)

    forth, back = (
        figures(both, 0.5, nowhere, verifier.knowledge) for both in (pair(new, stored), pair(stored, new))
    )

    assert forth == pytest.approx(back, abs=1e-5)
