"""What a verifier was measured to do, and where its threshold belongs: the figures on its card, as text and plot."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHARES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)
NORMAL_95 = 1.6449
"""The standard normal deviate that 95 % lie below."""


class Point(NamedTuple):
    """What one threshold does to labelled pairs."""

    threshold: float
    """The least score that hits, 0 to 1."""
    hits: int
    wrong: int
    recall: float
    """The share of the duplicates that hit."""

    @property
    def wrong_of_hits(self) -> float:
        """Return the share of the hits that are wrong."""
        return self.wrong / self.hits if self.hits else 0.0


def points(scores: NDArray[np.floating[Any]], labels: NDArray[np.bool_]) -> list[Point]:
    """Return what each score does as the threshold, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(labels[order])
    total = int(labels.sum())
    return [
        Point(float(scores[at]), rank, rank - int(found), int(found) / total)
        for rank, (at, found) in enumerate(zip(order, right, strict=True), 1)
        if np.isfinite(scores[at])
    ]


def at_recall(curve: Sequence[Point], share: float) -> Point | None:
    """Return the first point at which *share* of the duplicates hit, or None where none reaches it."""
    return next((point for point in curve if point.recall >= share), None)


def within_budget(curve: Sequence[Point], near_misses: int, share: float, budget: float) -> Point | None:
    """Return the lowest threshold at which wrong hits stay within *budget*, a share of all look-ups.

    Of the traffic's look-ups, *share* are near misses, as are *near_misses* of the labelled pairs: a question of the
    same subject is stored, and another one. With 95 % confidence: what counts is the upper end of Wilson's interval.
    """
    kept = [point for point in curve if share * upper_bound(point.wrong, near_misses) <= budget]
    return kept[-1] if kept else None


def upper_bound(count: int, total: int) -> float:
    """Return the upper end of Wilson's one-sided 95 % interval of a share."""
    share, z = count / total, NORMAL_95
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle + spread) / (1 + z * z / total)


def table(curve: Sequence[Point], bare: Sequence[Point], lookups: int) -> str:
    """Return a Markdown table: duplicates hit against wrong hits, beside a bare threshold on the cosine."""
    lines = [
        "| duplicates hit | score ≥ | wrong per 100 hits | per 100 look-ups | a bare cosine: wrong per 100 hits |",
        "|---:|---:|---:|---:|---:|",
    ]
    for share in SHARES:
        point, plain = at_recall(curve, share), at_recall(bare, share)
        if point is not None and plain is not None:
            lines.append(
                f"| {share:.0%} | {point.threshold:.3f} | {100 * point.wrong_of_hits:.1f}"
                f" | {100 * point.wrong / lookups:.2f} | {100 * plain.wrong_of_hits:.1f} |"
            )
    return "\n".join(lines)


def refusals_table(refusals: Sequence[str | None], labels: NDArray[np.bool_]) -> str:
    """Return a Markdown table of what each guard refused first."""
    counts = Counter(zip(refusals, labels.tolist(), strict=True))
    lines = ["| guard | different questions refused | duplicates refused |", "|---|---:|---:|"]
    words = dict.fromkeys(refusal for refusal in refusals if refusal)
    return "\n".join(
        lines + [f"| {word} | {counts[word, False]:,} | {counts[word, True]:,} |" for word in words]
    )


def plot(curve: Sequence[Point], bare: Sequence[Point], chosen: Point, path: Path) -> None:
    """Draw error against the share of duplicates hit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, each in (("bare cosine", bare), ("verifier", curve)):
        shown = [point for point in each if point.hits >= 100]
        axes.plot([100 * p.recall for p in shown], [100 * p.wrong_of_hits for p in shown], label=label)
    axes.plot(100 * chosen.recall, 100 * chosen.wrong_of_hits, "o", color="black", label="default threshold")
    axes.set(xlabel="duplicates hit, %", ylabel="wrong per 100 hits", xlim=(0, 65), ylim=(0, 30))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None} if path.suffix == ".png" else None)
