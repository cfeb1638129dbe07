"""The whole way from a file of labelled pairs to the model that ships and its card."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cacheproxy.semantic.card import (
    Limits,
    Traffic,
    lowest_within,
    plot,
    points,
    refusals_table,
    reliability,
    table,
)
from cacheproxy.semantic.thesaurus import SHIPPED
from cacheproxy.semantic.training import (
    EncodesNow,
    Say,
    calibrated,
    calibration,
    cross_validate,
    finish,
    load_groups,
    load_pairs,
    prepare,
    save,
    teaching,
    ungrouped,
)
from cacheproxy.semantic.verifier import Tuning

CARD = """\
# The verifier of semantic hits

Scores a pair of texts, 0 to 1: may the answer to the one serve the other? Guards refuse first (`guards.py`); what they
let pass is scored by {trees} boosted trees over figures of the pair (`features.py`): how alike the vectors are and
along which axes they lie, which words the two share, how rare and how near in meaning those are that they do not,
where they differ, their order, what they ask for.

| | |
|---|---|
| file | `{name}`, {size:,} bytes, SHA-256 `{digest}` |
| encoder | `{encoder}`; vectors of another one need a model of their own |
| trained on | {source}: {pairs:,} pairs, {duplicates:.1%} duplicates, SHA-256 of the file `{data}` |
| and on | {taught:,} pairs of questions to assistants that guards let pass: `{groups}`, SHA-256 `{groups_digest}` |
| knows words by | WordNet 3.0 (`{thesaurus}`, SHA-256 `{thesaurus_digest}`; licence in `thesaurus.md`) |
| seed, folds | {seed}, {folds} |
| calibrated for | {rewordings:.0%} of the look-ups reword what is stored, {near_misses:.0%} are near misses |
| default threshold | {threshold:.4f} |

## Measured
Cross-validated in two ways. *Unseen questions*: no pair is judged by a model that has seen either of its texts, nor one
that shares a text with a pair that has. *Unseen pairs*, the usual way: no pair is judged by a model that has seen it,
whatever other pairs its texts are in. The strict way is that of all other figures here: of the scores' calibration, the
threshold and what is wrong in traffic. Refused pairs count as misses.

{table}

What refused, as first of its guards:

{refusals}

## What a score says
A *near miss* is a look-up whose best candidate is about the same subject and another question. Of the pairs above,
{other_share:.0%} are such, chosen for being hard to tell; in traffic they are fewer, and how few nobody knows
beforehand. Scores are calibrated for traffic in which {rewordings:.0%} of the look-ups reword what is stored, as these
duplicates do, and {near_misses:.0%} are near misses, as these others are; the rest has no candidate that is anywhere
near. There a score is the chance that the two are one question:

{reliability}

The default threshold is the lowest, not below {least}, at which in that traffic, with 95 % confidence, at most
{budget:.1%} of the look-ups and {wrong_of_hits:.0%} of the hits are wrong. There {recall:.0%} of the duplicates hit,
and {false_rate:.1%} of the others: {wrong:,} of {others:,}. Where near misses are n times as many, so are wrong hits:
that is what a model's error budget is for, which believes scores only so far and closes what checks prove wrong.

The labels err in both directions. Of 176 pairs that an earlier model scored high, read by hand, strictly, two in five
of those labelled as different ask the same, and one in seven of those labelled as the same does not.

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
    taught: Path
    """Groups of wordings that teach as well, and are not measured."""
    seed: int
    folds: int
    traffic: Traffic
    limits: Limits
    least: float
    """Below which no threshold is of use, as no score is served."""
    output: Path
    plot: Path | None
    vectors: Path
    """A folder in which vectors are kept between runs."""


def train(plan: Plan, words: Sequence[str], encoder: EncodesNow, say: Say) -> str:
    """Write the model, its card and perhaps a plot, and return the table of what was measured.

    Raises:
        ValueError: no threshold keeps the limits on these pairs.
    """
    lesson = prepare([*load_pairs(plan.pairs), *load_groups(plan.taught)], words, encoder, plan.vectors, say)
    labels, cosines = lesson.labels[: lesson.measured], lesson.cosines[: lesson.measured]
    others = int((~labels).sum())
    logits = cross_validate(lesson, plan.folds, plan.seed, say)
    slope, shift = calibration(logits, labels, plan.traffic)
    scores = calibrated(logits, slope, shift)
    say("and once more by pairs, whose texts others may share")
    known = calibrated(cross_validate(ungrouped(lesson), plan.folds, plan.seed, say), slope, shift)
    curve, bare = points(scores, labels), points(cosines, labels)
    served = [point for point in curve if point.threshold >= plan.least]
    chosen = lowest_within(served, others, plan.traffic, plan.limits)
    if chosen is None:
        raise ValueError(f"no threshold keeps wrong hits within {plan.limits} in {plan.traffic}")
    say(f"training on all of {teaching(lesson).sum():,} pairs")
    arrays = finish(lesson, plan.seed, Tuning(slope, shift, chosen.threshold))
    digest = save(arrays, plan.output)
    if plan.plot is not None:
        plot(curve, bare, chosen, plan.plot)
    measured, honest = (
        table(curve, points(known, labels), bare, plan.traffic),
        reliability(scores, labels, plan.traffic),
    )
    card = CARD.format(
        trees=len(arrays["roots"]),
        name=plan.output.name,
        size=plan.output.stat().st_size,
        digest=digest,
        encoder=encoder.name,
        source=plan.source,
        pairs=len(labels),
        duplicates=labels.mean(),
        data=hashlib.sha256(plan.pairs.read_bytes()).hexdigest(),
        taught=teaching(lesson).sum() - len(labels),
        groups=plan.taught.name,
        groups_digest=hashlib.sha256(plan.taught.read_bytes()).hexdigest(),
        thesaurus=SHIPPED.name,
        thesaurus_digest=hashlib.sha256(SHIPPED.read_bytes()).hexdigest(),
        seed=plan.seed,
        folds=plan.folds,
        table=measured,
        refusals=refusals_table(lesson.refusals[: lesson.measured], labels),
        reliability=honest,
        other_share=others / len(labels),
        least=plan.least,
        others=others,
        **plan.traffic._asdict(),
        **plan.limits._asdict(),
        **chosen._asdict(),
    )
    plan.output.with_suffix(".md").write_text(card)
    return f"{measured}\n{honest}\nthreshold {chosen.threshold:.4f}, SHA-256 {digest}"
