"""The whole way from a file of labelled pairs to the model that ships and its card."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cacheproxy.semantic.card import plot, points, refusals_table, table, upper_bound, within_budget
from cacheproxy.semantic.training import EncodesNow, Lesson, Say, cross_validate, finish, load_pairs, prepare, save

CARD = """\
# The verifier of semantic hits

Scores a pair of texts, 0 to 1: may the answer to the one serve the other? Guards refuse first (`guards.py`); what they
let pass is scored by {trees} boosted trees over figures of the pair (`features.py`): how alike the vectors are and
along which axes they lie, which words the two share, how rare and how near in meaning those are that they do not,
their order, what they ask for.

| | |
|---|---|
| file | `{name}`, {size:,} bytes, SHA-256 `{digest}` |
| encoder | `{encoder}`; vectors of another one need a model of their own |
| trained on | {source}: {pairs:,} pairs, {duplicates:.1%} duplicates, SHA-256 of the file `{data}` |
| seed, folds | {seed}, {folds} |
| default threshold | {threshold:.4f} |

## Measured
Cross-validated: no pair is judged by a model that has seen either of its texts, nor one that shares a text with a pair
that has. Refused pairs count as misses.

{table}

What refused, as first of its guards:

{refusals}

## The default threshold and its budget
The budget is {budget:.1%} wrong answers of all look-ups, hits and misses, at the base rate of these pairs ({duplicates:.1%}
true repetitions; all others are near misses that people took for candidates, which is harder than traffic). The
threshold is the lowest that keeps it with 95 % confidence: here {hits:,} hits, {wrong:,} wrong, at most {bound:.2%} of the look-ups.
At another base rate p, wrong answers per look-up are (1 − p) × {false_rate:.4f} and right hits p × {recall:.3f}. The labels
err too: of the pairs that are word for word the same, {noise:.0%} are labelled as different, so that what is counted as
wrong is more than what is. Traffic decides in the end: shadow checks move the threshold of each region.

## Limits
- English. Guards know numerals, negations, dates and directions of Chinese; the score was not trained on it.
- Questions of up to some 30 words. Above 60 words only pairs of the same content words pass the guards.
- Public questions of their time. Of other subjects the score is less sure, and lower rather than higher.
- It compares two texts, not two conversations: everything else in the request must be the same.
"""


class Plan(NamedTuple):
    """What is to be trained, and where to."""

    pairs: Path
    source: str
    seed: int
    folds: int
    budget: float
    """Wrong hits allowed, as a share of the look-ups."""
    output: Path
    plot: Path | None
    vectors: Path
    """A folder in which vectors are kept between runs."""


def train(plan: Plan, words: Sequence[str], encoder: EncodesNow, say: Say) -> str:
    """Write the model, its card and perhaps a plot, and return the table of what was measured.

    Raises:
        ValueError: no threshold keeps the budget on these pairs.
    """
    lesson = prepare(load_pairs(plan.pairs), words, encoder, plan.vectors, say)
    logits = cross_validate(lesson, plan.folds, plan.seed, say)
    curve = points(1 / (1 + np.exp(-logits)), lesson.labels)
    curve = [point for point in curve if point.threshold > 0]
    bare = points(lesson.cosines, lesson.labels)
    chosen = within_budget(curve, len(lesson.labels), plan.budget)
    if chosen is None:
        raise ValueError(f"no threshold keeps wrong hits within {plan.budget:.2%} of the look-ups")
    say(f"training on all of {len(lesson.labels):,} pairs")
    arrays = finish(lesson, plan.seed, chosen.threshold)
    digest = save(arrays, plan.output)
    if plan.plot is not None:
        plot(curve, bare, chosen, plan.plot)
    measured = table(curve, bare, len(lesson.labels))
    total, duplicates = len(lesson.labels), int(lesson.labels.sum())
    card = CARD.format(
        trees=len(arrays["roots"]),
        name=plan.output.name,
        size=plan.output.stat().st_size,
        digest=digest,
        encoder=encoder.name,
        source=plan.source,
        pairs=total,
        duplicates=duplicates / total,
        data=hashlib.sha256(plan.pairs.read_bytes()).hexdigest(),
        seed=plan.seed,
        folds=plan.folds,
        threshold=chosen.threshold,
        table=measured,
        refusals=refusals_table(lesson.refusals, lesson.labels),
        budget=plan.budget,
        hits=chosen.hits,
        wrong=chosen.wrong,
        bound=upper_bound(chosen.wrong, total),
        false_rate=chosen.wrong / (total - duplicates),
        recall=chosen.recall,
        noise=_noise(lesson),
    )
    plan.output.with_suffix(".md").write_text(card)
    return f"{measured}\nthreshold {chosen.threshold:.4f}, SHA-256 {digest}"


def _noise(lesson: Lesson) -> float:
    """Return the share labelled as different of the pairs that are the same word for word."""
    same = lesson.cosines > 0.9999
    return float(1 - lesson.labels[same].mean()) if same.any() else 0.0
