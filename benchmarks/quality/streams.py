"""Questions one after the other, and which of them ask the same."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cacheproxy.semantic.encoder import Vectors
from cacheproxy.semantic.training import EncodesNow, LabelledPair

Groups = dict[str, int]
"""Text → a number that those share that ask the same."""


class Stream(NamedTuple):
    """Distinct texts in the order in which they are asked, but for `repeated`."""

    name: str
    texts: Sequence[str]
    vectors: Vectors
    kinds: Sequence[str]
    groups: Sequence[int]
    apart: frozenset[tuple[int, int]] | None
    """Groups that are known to ask different things, lesser number first; None: all others do."""

    def same(self, new: int, stored: int) -> bool | None:
        """Return whether two of the texts ask the same; None where nobody has compared them."""
        one, other = sorted((self.groups[new], self.groups[stored]))
        if one == other:
            return True
        return False if self.apart is None or (one, other) in self.apart else None


def of_pairs(pairs: Sequence[LabelledPair], encoder: EncodesNow) -> Stream:
    """Return the questions of *pairs*, pair by pair; what the labels say holds through others as well."""
    groups = _groups([(pair.a, pair.b) for pair in pairs if pair.duplicate])
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.a, pair.b)))
    for text in texts:
        groups.setdefault(text, len(groups) + len(texts))
    different = [sorted((groups[pair.a], groups[pair.b])) for pair in pairs if not pair.duplicate]
    return Stream(
        name="pairs",
        texts=texts,
        vectors=encoder.encode_now(texts),
        kinds=["pairs"] * len(texts),
        groups=[groups[text] for text in texts],
        apart=frozenset((one, other) for one, other in different),
    )


def of_list(file: Path, encoder: EncodesNow, *, seed: int = 1) -> Stream:
    """Return a replay list: its seeds in their order, then all the others shuffled."""
    told = json.loads(file.read_text())
    seeds = {each["id"]: each["text"] for each in told["seeds"]}
    numbers = {identifier: number for number, identifier in enumerate(seeds)}
    asked = [("rewording", each["text"], numbers[each["of"]]) for each in told["rewordings"]]
    alone = [(kind, each["text"]) for kind in ("fresh", "traps") for each in told[kind]]
    asked += [(kind, text, len(seeds) + number) for number, (kind, text) in enumerate(alone)]
    random.Random(seed).shuffle(asked)
    whole = [("seed", text, numbers[identifier]) for identifier, text in seeds.items()] + asked
    texts = [text for _, text, _ in whole]
    return Stream(
        name="list",
        texts=texts,
        vectors=encoder.encode_now(texts),
        kinds=[kind for kind, _, _ in whole],
        groups=[group for _, _, group in whole],
        apart=None,
    )


def _groups(same: Sequence[tuple[str, str]]) -> Groups:
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = text = parent[parent[text]]
        return text

    for one, other in same:
        parent[root(one)] = root(other)
    numbers: Groups = {}
    return {text: numbers.setdefault(root(text), len(numbers)) for text in list(parent)}
