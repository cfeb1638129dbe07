"""The thesaurus: how words stand to each other, and how it is made of WordNet's files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from cacheproxy.semantic.distilling import FILES, distil, save
from cacheproxy.semantic.errors import InvalidVerifier
from cacheproxy.semantic.lexicon import in_order
from cacheproxy.semantic.thesaurus import NOTHING, SHIPPED, Thesaurus, thesaurus

LICENCE = "  1 Take it and say where it is from.  \n"
WORDNET = {
    "data.noun": """\
00000010 03 n 01 entity 0 000 | all
00000020 03 n 01 object 0 001 @ 00000010 n 0000 | a
00000030 03 n 01 matter 0 001 @ 00000020 n 0000 | a
00000040 13 n 01 food 0 001 @ 00000030 n 0000 | a
00000050 13 n 01 produce 0 001 @ 00000040 n 0000 | a
00000060 13 n 01 fruit 0 001 @ 00000050 n 0000 | a
00000070 13 n 02 apple 0 pome 0 001 @ 00000060 n 0000 | a
00000080 13 n 01 pear 0 001 @ 00000060 n 0000 | a
00000090 15 n 01 Rome 0 001 @i 00000020 n 0000 | a
00000100 04 n 01 choice 0 001 + 00000010 v 0101 | a
""",
    "data.verb": """\
00000010 31 v 02 choose 0 pick 0 001 + 00000100 n 0101 01 + 08 00 | a
00000020 38 v 01 rise 0 001 ! 00000030 v 0101 01 + 02 00 | a
00000030 38 v 01 fall 0 001 ! 00000020 v 0101 01 + 02 00 | a
""",
    "data.adj": """\
00000010 00 a 01 fast 0 002 ! 00000020 a 0101 & 00000030 a 0000 | a
00000020 00 a 01 slow 0 001 ! 00000010 a 0101 | a
00000030 00 s 01 quick 0 001 & 00000010 a 0000 | a
""",
    "data.adv": "",
    "index.noun": "".join(
        f"{word} n 1 1 @ 1 0 {offset:08}  \n"
        for offset, word in enumerate(
            in_order("entity object matter food produce fruit apple pear rome choice"), 1
        )
        for offset in [10 * offset]
    )
    + "pome n 1 1 @ 1 0 00000070  \n",
    "index.verb": "choose v 1 0 1 0 00000010  \npick v 1 0 1 0 00000010  \n"
    "rise v 1 1 ! 1 0 00000020  \nfall v 1 1 ! 1 0 00000030  \n",
    "index.adj": "fast a 1 2 ! & 1 0 00000010  \nslow a 1 1 ! 1 0 00000020  \nquick a 1 1 & 1 0 00000030  \n",
    "index.adv": "",
    "verb.exc": "fell fall\nrose rise\n",
    "cntlist.rev": "apple%1:13:00:: 1 7\nfast%3:00:00:: 1 9\nquick%5:00:00:fast:00 1 2\n",
}


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    """Give a folder with a WordNet of some twenty words."""
    for name in FILES:
        (tmp_path / name).write_text(LICENCE + WORDNET.get(name, ""))
    return tmp_path


@pytest.mark.parametrize(
    ("figure", "one", "other"),
    [
        ("same", "sofa", "couch"),
        ("same", "purchase", "bought"),
        ("near", "employee", "workers"),
        ("opposite", "buy", "sell"),
        ("opposite", "sluggish", "quick"),
        ("opposite", "slowly", "rapidly"),
        ("siblings", "cat", "dogs"),
        ("siblings", "paris", "milan"),
    ],
)
def test_words_stand_to_each_other(figure: str, one: str, other: str) -> None:
    relation = thesaurus().relation(one, other)

    assert getattr(relation, figure) > 0.25
    assert relation == thesaurus().relation(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("sofa", "xyzzy"), ("", ""), ("退款", "refund"), ("sofa", "quickly")]
)
def test_what_is_not_known_stands_in_no_relation(one: str, other: str) -> None:
    assert thesaurus().relation(one, other) == NOTHING


@pytest.mark.parametrize(
    ("word", "is_name"),
    [("lisbon", True), ("churchill", True), ("banks", False), ("may", False), ("sofa", False)],
)
def test_names_are_known_without_a_capital(word: str, is_name: bool) -> None:
    meaning = thesaurus().meaning(word)

    assert meaning is not None
    assert meaning.is_name == is_name


def test_it_is_distilled_from_wordnet(wordnet: Path, tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("one.npz", "two.npz")]
    for path in made:
        save(distil(wordnet), wordnet, path)
    small = Thesaurus.load(made[0])

    assert small.relation("apples", "pome").same == 1
    assert small.relation("apple", "pear").siblings == 1
    assert small.relation("apple", "fruit").near == 1
    assert small.relation("quick", "slow").opposite == 1
    assert small.relation("fell", "rose").opposite == 1
    assert small.relation("choosing", "pick").same == 1
    assert small.relation("apple", "rome") == NOTHING
    assert made[0].read_bytes() == made[1].read_bytes()
    card = made[0].with_suffix(".md").read_text()
    assert "\nTake it and say where it is from.\n" in card
    assert hashlib.sha256(made[0].read_bytes()).hexdigest() in card


def test_the_card_is_that_of_the_thesaurus() -> None:
    card = SHIPPED.with_suffix(".md").read_text()

    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in card
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in card
    assert SHIPPED.stat().st_size < 1_500_000


@pytest.mark.parametrize("content", [b"", b"no thesaurus", SHIPPED.read_bytes()[:5000]])
def test_a_broken_thesaurus_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(content)

    with pytest.raises(InvalidVerifier):
        Thesaurus.load(path)


def test_a_thesaurus_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.npz"
    np.savez(path, format=np.array(0))

    with pytest.raises(InvalidVerifier, match="format 0"):
        Thesaurus.load(path)
