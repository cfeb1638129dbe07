"""What a verifier was measured to do, and where its threshold belongs: the figures on its card, as text and plot."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.bool_]
SHARES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.60)
BANDS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
"""Of scores, for the table of how right they are; from 0.7 on those of the error budget."""
NORMAL_95 = 1.6449
"""The standard normal deviate that 95 % lie below."""


class Traffic(NamedTuple):
    """What a verifier is calibrated for. The rest of the look-ups have no candidate that is anywhere near."""

    rewordings: float
    """The share of the look-ups that ask again, in other words, what is stored."""
    near_misses: float
    """The share whose best candidate is about the same subject and another question."""


class Limits(NamedTuple):
    """What the threshold must keep."""

    budget: float
    """Wrong hits, as a share of the look-ups."""
    wrong_of_hits: float


class Point(NamedTuple):
    """What one threshold does to labelled pairs."""

    threshold: float
    """The least score that hits, 0 to 1."""
    hits: int
    wrong: int
    recall: float
    """The share of the duplicates that hit."""
    false_rate: float
    """The share of the others that hit."""

    @property
    def wrong_of_hits(self) -> float:
        """Return the share of the hits that are wrong, among these pairs."""
        return self.wrong / self.hits if self.hits else 0.0

    def wrong_of_lookups_in(self, traffic: Traffic) -> float:
        """Return the share of the look-ups that hit and are wrong, in *traffic* of such pairs."""
        return traffic.near_misses * self.false_rate

    def wrong_of_hits_in(self, traffic: Traffic) -> float:
        """Return the share of the hits that are wrong, in *traffic* of such pairs."""
        wrong = self.wrong_of_lookups_in(traffic)
        hits = wrong + traffic.rewordings * self.recall
        return wrong / hits if hits else 0.0


def points(scores: Scores, labels: Labels) -> list[Point]:
    """Return what each score above 0 does as the threshold, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(labels[order])
    same, others = int(labels.sum()), int((~labels).sum())
    return [
        Point(float(scores[at]), rank, rank - int(found), int(found) / same, (rank - int(found)) / others)
        for rank, (at, found) in enumerate(zip(order, right, strict=True), 1)
        if scores[at] > 0
    ]


def at_recall(curve: Sequence[Point], share: float) -> Point | None:
    """Return the first point at which *share* of the duplicates hit, or None where none reaches it."""
    return next((point for point in curve if point.recall >= share), None)


def lowest_within(curve: Sequence[Point], others: int, traffic: Traffic, limits: Limits) -> Point | None:
    """Return the lowest threshold that keeps *limits* in *traffic*; *others* is how many pairs are no duplicates.

    With 95 % confidence: what counts is the upper end of Wilson's interval of the false rate.
    """
    sure = [point._replace(false_rate=upper_bound(point.wrong, others)) for point in curve]
    kept = [
        point
        for point, worst in zip(curve, sure, strict=True)
        if worst.wrong_of_lookups_in(traffic) <= limits.budget
        and worst.wrong_of_hits_in(traffic) <= limits.wrong_of_hits
    ]
    return kept[-1] if kept else None


def upper_bound(count: int, total: int) -> float:
    """Return the upper end of Wilson's one-sided 95 % interval of a share."""
    share, z = count / total, NORMAL_95
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle + spread) / (1 + z * z / total)


def table(curve: Sequence[Point], bare: Sequence[Point], traffic: Traffic) -> str:
    """Return a Markdown table: duplicates hit against wrong hits, beside a bare threshold on the cosine."""
    lines = [
        "| duplicates hit | score ≥ | wrong of 100 hits | bare cosine | in traffic, of 100 look-ups | of 100 hits |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for share in SHARES:
        point, plain = at_recall(curve, share), at_recall(bare, share)
        if point is not None and plain is not None:
            lines.append(
                f"| {share:.0%} | {point.threshold:.3f} | {100 * point.wrong_of_hits:.1f}"
                f" | {100 * plain.wrong_of_hits:.1f} | {100 * point.wrong_of_lookups_in(traffic):.2f}"
                f" | {100 * point.wrong_of_hits_in(traffic):.1f} |"
            )
    return "\n".join(lines)


def reliability(scores: Scores, labels: Labels, traffic: Traffic) -> str:
    """Return a Markdown table: what scores say, and what the labels do, as *traffic* mixes them."""
    weights = np.where(labels, traffic.rewordings / labels.sum(), traffic.near_misses / (~labels).sum())
    lines = ["| score | pairs | wrong by the score | wrong by the labels |", "|---|---:|---:|---:|"]
    for low, high in pairwise(BANDS):
        band = (scores > low) & (scores <= high)
        if band.any():
            said, found = (np.average(1 - each[band], weights=weights[band]) for each in (scores, labels))
            lines.append(
                f"| {low:.2f}–{high:.2f} | {band.sum():,} | {100 * said:.1f} % | {100 * found:.1f} % |"
            )
    return "\n".join(lines)


def refusals_table(refusals: Sequence[str | None], labels: Labels) -> str:
    """Return a Markdown table of what each guard refused first."""
    counts = Counter(zip(refusals, labels.tolist(), strict=True))
    lines = ["| guard | different questions refused | duplicates refused |", "|---|---:|---:|"]
    words = sorted({refusal for refusal in refusals if refusal}, key=lambda word: -counts[word, False])
    return "\n".join(
        lines + [f"| {word} | {counts[word, False]:,} | {counts[word, True]:,} |" for word in words]
    )


def plot(curve: Sequence[Point], bare: Sequence[Point], chosen: Point, path: Path) -> None:
    """Draw error against the share of duplicates hit."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, each in (("bare cosine", bare), ("verifier", curve)):
        shown = [point for point in each if point.hits >= 100][::50]
        axes.plot([100 * p.recall for p in shown], [100 * p.wrong_of_hits for p in shown], label=label)
    axes.plot(100 * chosen.recall, 100 * chosen.wrong_of_hits, "o", color="black", label="default threshold")
    axes.set(xlabel="duplicates hit, %", ylabel="wrong per 100 hits", xlim=(0, 75), ylim=(0, 35))
    axes.grid(alpha=0.3)
    axes.legend()
    with mpl.rc_context({"svg.hashsalt": "verifier", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
