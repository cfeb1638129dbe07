"""From WordNet's files to the arrays of a `Thesaurus`: of each word its few commonest senses, of each sense where it
belongs. Run once, from files that an operator has; the gateway needs only what it makes.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.thesaurus import FORMAT, NONE

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
TYPES = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
"""Of the keys in `cntlist.rev` → the part of speech; a satellite is an adjective."""
FILES = [name for part in PARTS for name in (f"data.{part}", f"index.{part}", f"{part}.exc")] + [
    "cntlist.rev"
]
MAX_SENSES = 6
"""Of a word, in each part of speech."""
UNSEEN = 0.3
"""What a sense counts for that no text of WordNet's own has."""
PARENTS = ("@", "@i", "&", "\\")
"""Pointers to what a sense belongs to: its kind, its class, the head of its cluster, the adjective of its adverb."""
OPPOSITE = "!"
CARD = """\
# The thesaurus of semantic hits

What the verifier knows of English words beside what it learned: which mean the same, oppose each other, are
of one kind, name a place or somebody. Words are in it as numbers (their CRC-32), not as text.

| | |
|---|---|
| file | `{name}`, {size:,} bytes, SHA-256 `{digest}` |
| in memory | {memory:,} bytes, once per process |
| knows | {words:,} words, irregular forms among them, and {senses:,} senses |
| made from | WordNet 3.0, by `manage.py distil_thesaurus`; SHA-256 of its files, one after the other, `{source}` |

## Licence of WordNet
The thesaurus is a modification of WordNet; what follows goes with it wherever it goes.

{licence}
"""

Name = tuple[str, str]
"""A part of speech and an offset, as WordNet's files say which sense they mean."""


class Synset(NamedTuple):
    """A line of WordNet's data."""

    words: list[str]
    field: int
    """The number of the lexicographers' file it is from: animals, food, places…"""
    pointers: list[tuple[str, Name]]
    """How it is to which other."""


def digest(folder: Path) -> str:
    """Return the SHA-256 of all files that are read, one after the other."""
    found = hashlib.sha256()
    for name in FILES:
        found.update((folder / name).read_bytes())
    return found.hexdigest()


def distil(folder: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a thesaurus from the files of WordNet 3.0 in *folder*.

    Raises:
        OSError: a file is missing.
        ValueError: one is not WordNet's.
    """
    synsets = dict(
        _synset(row, letter) for part, letter in PARTS.items() for row in _rows(folder / f"data.{part}")
    )
    number = {name: at for at, name in enumerate(synsets)}
    senses = _senses(folder)
    keys = sorted(senses)
    flat = [sense for key in keys for sense in senses[key]]
    return {
        "format": np.array(FORMAT),
        "keys": np.array(keys, np.uint32),
        "starts": np.cumsum([0, *(len(senses[key]) for key in keys)]).astype(np.uint32),
        "senses": np.array([number[name] for name, _ in flat], np.uint32),
        "shares": np.array([round(255 * share) for _, share in flat], np.uint8),
        "parents": np.array([_first(synset, PARENTS, number) for synset in synsets.values()], np.int32),
        "against": np.array([_first(synset, (OPPOSITE,), number) for synset in synsets.values()], np.int32),
        "fields": np.array([synset.field for synset in synsets.values()], np.uint8),
        "named": np.array([synset.words[0][0].isupper() for synset in synsets.values()]),
    }


def _rows(path: Path) -> Iterator[list[str]]:
    """Yield the words of each line, without the licence at the top and what glosses say."""
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith(" "):
            yield line.split(" | ")[0].split()


def _synset(row: list[str], letter: str) -> tuple[Name, Synset]:
    count = int(row[3], 16)
    words = [word.split("(")[0] for word in row[4 : 4 + 2 * count : 2]]
    first = 5 + 2 * count
    pointers = [
        (row[at], (row[at + 2], row[at + 1])) for at in range(first, first + 4 * int(row[first - 1]), 4)
    ]
    return (letter, row[0]), Synset(words, int(row[1]), pointers)


def _senses(folder: Path) -> dict[int, list[tuple[Name, float]]]:
    """Return for each word's key its senses, the commonest first, each with its share of the word's use."""
    counts = _counts(folder)
    found: defaultdict[str, dict[Name, float]] = defaultdict(dict)
    for part, letter in PARTS.items():
        for row in _rows(folder / f"index.{part}"):
            word, offsets = row[0], row[-int(row[2]) :]
            if word.isalpha() and len(word) > 1:
                for rank, offset in enumerate(offsets[:MAX_SENSES], 1):
                    found[word][letter, offset] = counts.get((word, letter, rank), UNSEEN / rank)
    for inflected, root in _irregular(folder):
        found[inflected] |= found.get(root, {})
    return {crc32(word.encode()): _shares(each) for word, each in found.items() if each}


def _counts(folder: Path) -> dict[tuple[str, str, int], int]:
    """Return how often a word is meant in each of its senses, in the texts that WordNet's makers read."""
    counts = {}
    for key, rank, count in _rows(folder / "cntlist.rev"):
        word, rest = key.split("%")
        counts[word, TYPES[rest[0]], int(rank)] = int(count)
    return counts


def _irregular(folder: Path) -> Iterator[tuple[str, str]]:
    for part in PARTS:
        for inflected, root, *_ in _rows(folder / f"{part}.exc"):
            if inflected.isalpha() and root.isalpha():
                yield inflected, root


def _shares(senses: dict[Name, float]) -> list[tuple[Name, float]]:
    total = sum(senses.values())
    return [(name, senses[name] / total) for name in sorted(senses, key=lambda name: -senses[name])]


def _first(synset: Synset, symbols: tuple[str, ...], number: dict[Name, int]) -> int:
    return next((number[name] for symbol, name in synset.pointers if symbol in symbols), NONE)


def licence(folder: Path) -> str:
    """Return the licence that stands at the top of WordNet's files, without the numbers of its lines."""
    with (folder / "data.noun").open(encoding="utf-8") as lines:
        top = takewhile(lambda line: line.startswith(" "), lines)
        return "\n".join(line.strip().partition(" ")[2].rstrip() for line in top)


def save(arrays: dict[str, NDArray[Any]], folder: Path, path: Path) -> None:
    """Write the thesaurus that was made of *folder* to *path*, and its card beside it."""
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own
    card = CARD.format(
        name=path.name,
        size=path.stat().st_size,
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        memory=sum(array.nbytes for array in arrays.values()),
        words=len(arrays["keys"]),
        senses=len(arrays["parents"]),
        source=digest(folder),
        licence=licence(folder),
    )
    path.with_suffix(".md").write_text(card)
