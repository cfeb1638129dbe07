"""What a benchmark leaves: a table to read, JSON to compare, and whether its targets were met."""

import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

from benchmarks.stack import HOME, ROOT

IMAGES = ROOT / "docs" / "images"
Row = Mapping[str, Any]
Step = TypeVar("Step")


class Target(NamedTuple):
    """What a figure should be."""

    text: str
    value: float
    bound: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        side = "at most" if self.at_most else "at least"
        verdict = "met" if self.met else "MISSED"
        return f"{self.text}: {self.value:,.2f}, target {side} {self.bound:,.2f}: {verdict}"


def report(name: str, title: str, rows: Sequence[Row], targets: Sequence[Target], *notes: str) -> None:
    """Print *rows* as a table with the targets below, and write all of it to ``var/bench/NAME.json``."""
    print(f"{name}: {title}")
    columns = list(rows[0])
    widths = [max(len(column), *(len(_text(row[column])) for row in rows)) for column in columns]
    for cells in (columns, *([_text(row[column]) for column in columns] for row in rows)):
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    print(*notes, *targets, "", sep="\n", flush=True)
    kept = [{**target._asdict(), "met": target.met} for target in targets]
    document = {"title": title, "rows": list(rows), "targets": kept, "notes": notes}
    path(f"{name}.json").write_text(json.dumps(document, indent=2))


def progress(name: str, steps: Collection[Step]) -> "tqdm[Step]":
    """Return *steps* to go through, with a bar on a terminal that tells how many are left."""
    return tqdm(steps, desc=name, disable=None, leave=False)


def path(name: str) -> Path:
    """Return where the file *name* of a benchmark belongs."""
    HOME.mkdir(parents=True, exist_ok=True)
    return HOME / name


def median(runs: Sequence[Mapping[str, Any]], name: str) -> int:
    """Return the median of a figure over *runs*."""
    return int(statistics.median(run[name] for run in runs))


def share(runs: Sequence[Mapping[str, Any]], of: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the median, over rounds, of a figure as a share of the other's of the same round.

    What slows the whole machine for a while slows both of a round, so that their share stays.
    """
    shares = [float(run[name] / other[name]) for run, other in zip(runs, of, strict=True)]
    return round(statistics.median(shares), 3)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}"
