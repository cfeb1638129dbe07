"""The whole way from a file of labelled pairs to the model that ships and its card."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cacheproxy.semantic.card import plot, points, refusals_table, table, upper_bound, within_budget
from cacheproxy.semantic.training import EncodesNow, Say, cross_validate, finish, load_pairs, prepare, save

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
The budget is {budget:.1%} wrong answers of all look-ups. How many that allows depends on the traffic: what can go wrong
is a *near miss*, a look-up whose best candidate is about the same subject and another question, which no guard tells.
The default takes {share:.0%} of the look-ups for such. Of the near misses among these pairs {wrong:,} of {others:,}
pass the threshold, with 95 % confidence at most {bound:.1%}; of the repetitions {recall:.0%} do. A share n of near
misses and r of rewordings in the traffic means n × {false_rate:.3f} wrong answers and r × {recall:.2f} right ones a look-up.
Where hits are few and near misses many, most of the hits may be wrong within this budget: the error budget of a model
bounds that as well, and shadow checks move what is served in each region.

The labels err in both directions. Of 176 pairs above a score of 0.6 read by hand, strictly, two in five of those
labelled as different ask the same, and one in seven of those labelled as the same does not: on the whole the score is
about as right as it says, within some 0.05 to 0.1 too high.

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
    near_misses: float
    """The share of the look-ups whose best candidate is another question of the same subject."""
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
    total, duplicates = len(lesson.labels), int(lesson.labels.sum())
    chosen = within_budget(curve, total - duplicates, plan.near_misses, plan.budget)
    if chosen is None:
        raise ValueError(f"no threshold keeps wrong hits within {plan.budget:.2%} of the look-ups")
    say(f"training on all of {len(lesson.labels):,} pairs")
    arrays = finish(lesson, plan.seed, chosen.threshold)
    digest = save(arrays, plan.output)
    if plan.plot is not None:
        plot(curve, bare, chosen, plan.plot)
    measured = table(curve, bare, len(lesson.labels))
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
        share=plan.near_misses,
        wrong=chosen.wrong,
        others=total - duplicates,
        bound=upper_bound(chosen.wrong, total - duplicates),
        false_rate=chosen.wrong / (total - duplicates),
        recall=chosen.recall,
    )
    plan.output.with_suffix(".md").write_text(card)
    return f"{measured}\nthreshold {chosen.threshold:.4f}, SHA-256 {digest}"
