"""How often are semantic hits wrong: our verifier, a bare threshold, and GPTCache, on the same vectors.

Questions come one after the other to a cache that begins empty; what is no hit is kept. First those of the
development list in ``tests/recordings``. With ``--pairs FILE`` (``a``, ``b``, ``duplicate``) also those of
labelled pairs, none of which our verifier has seen: for the stream it is trained on four fifths and asked some of
the rest; for the pairs by themselves, all of them, it is cross-validated. Where no label compares two questions, a
hit counts as neither right nor wrong.

GPTCache runs in an environment of its own, with the evaluation that it begins with (distance), for its cross-encoder
has to be downloaded; where it cannot be installed, that evaluation is written out, as it is for the search of the
threshold at which it hits as often as ours. ``--docs`` draws the plot into ``docs/images`` too.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.quality.deciders import Budgeted, Distance, Outcome, Verified, asked, threshold_of
from benchmarks.quality.rival import DEFAULT_THRESHOLD, VERSION, asked_of_gptcache, missing
from benchmarks.quality.streams import Stream, of_list, of_pairs
from benchmarks.quality.unseen import Remembered, cross_validated, split, trained
from benchmarks.results import IMAGES, Row, Target, path, report
from benchmarks.stack import HOME, ROOT
from cacheproxy.semantic.budget.rules import Rules
from cacheproxy.semantic.card import Point, points
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.training import load_pairs
from cacheproxy.semantic.verifier import Verifier

LIST = ROOT / "tests" / "recordings" / "semantic_development.json"
BARE_COSINE = 0.92
STREAM_PAIRS = 1_500
RECALLS = (0.10, 0.25)
BISECTIONS = 12
OURS = "verifier, its own threshold"
EQUAL = "as many hits as the verifier"
PICTURE = "semantic-quality.svg"

Outcomes = Mapping[str, Outcome]


def main(pairs: Path | None = None, *, docs: bool = False) -> None:
    """Measure, print the tables, write the JSON and, of pairs, the plot."""
    encoder = LocalEncoder.open(HOME / "models")
    problem = missing()
    by = f"GPTCache {VERSION}" if problem is None else f"GPTCache's evaluation, written out ({problem})"
    stream = of_list(LIST, encoder)
    _report_stream("semantic_quality", stream, _outcomes(stream, Verifier.load(), real=problem is None), by)
    if pairs is not None:
        labelled = load_pairs(pairs)
        remembered = Remembered(encoder, labelled)
        seen, unseen = split(labelled)
        stream = of_pairs(unseen[:STREAM_PAIRS], remembered)
        outcomes = _outcomes(stream, trained(seen, remembered), real=problem is None)
        _report_stream("semantic_quality_stream", stream, outcomes, by)
        scores, cosines = cross_validated(labelled, remembered)
        _report_pairs(scores, cosines, np.array([pair.duplicate for pair in labelled]), docs=docs)
    encoder.close()


def _outcomes(stream: Stream, verifier: Verifier, *, real: bool) -> Outcomes:
    """Return what each makes of *stream*."""
    ours = asked(stream, Verified(stream, verifier, verifier.threshold))
    equal = _threshold_of_as_many(stream, _hits(ours))

    def gptcache(threshold: float) -> Outcome:
        return asked_of_gptcache(stream, threshold) if real else asked(stream, Distance(stream, threshold))

    return {
        "GPTCache, default": gptcache(DEFAULT_THRESHOLD),
        f"GPTCache, {EQUAL}": gptcache(equal),
        f"cosine of {BARE_COSINE}": asked(stream, Distance(stream, threshold_of(BARE_COSINE))),
        OURS: ours,
        "verifier, error budget": asked(stream, Budgeted(stream, verifier, Rules())),
    }


def _threshold_of_as_many(stream: Stream, hits: int) -> float:
    """Return the threshold at which GPTCache's evaluation hits as often, or as little more often as can be."""
    low, high = DEFAULT_THRESHOLD, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        enough = _hits(asked(stream, Distance(stream, middle))) >= hits
        low, high = (middle, high) if enough else (low, middle)
    return low


def _hits(outcome: Outcome) -> int:
    return sum(found is not None for found in outcome.found)


def _report_stream(name: str, stream: Stream, outcomes: Outcomes, by: str) -> None:
    rows = [_row(stream, decided, outcome) for decided, outcome in outcomes.items()]
    ours = next(row for row in rows if row["decided by"] == OURS)
    equal = next(row for row in rows if EQUAL in row["decided by"])
    targets = [
        Target(
            "wrong per 100 hits, ours less GPTCache's at as many hits",
            ours["wrong per 100"] - equal["wrong per 100"],
            0,
            at_most=True,
        )
    ]
    title = f"{len(stream.texts):,} different questions one after the other; vectors given; {by}"
    report(name, title, rows, targets)


def _row(stream: Stream, decided: str, outcome: Outcome) -> dict[str, Any]:
    hits = [(new, stored) for new, stored in enumerate(outcome.found) if stored is not None]
    verdicts = [(stream.kinds[new], stream.same(new, stored)) for new, stored in hits]
    right, wrong = (sum(same is wanted for _, same in verdicts) for wanted in (True, False))
    row = {
        "decided by": decided,
        "hits, %": round(100 * len(hits) / len(stream.texts), 1),
        "right": right,
        "wrong": wrong,
        "no label": len(hits) - right - wrong,
        "wrong per 100": round(100 * wrong / max(1, right + wrong), 1),
    }
    if stream.apart is None:
        row |= {
            kind: f"{sum(each == kind and same is False for each, same in verdicts)} wrong"
            for kind in ("seed", "fresh", "traps")
        }
        row["rewording"] = f"{right} of {stream.kinds.count('rewording')} right"
    return row | {"p50_us": round(statistics.median(outcome.taken_us))}


def _report_pairs(
    scores: "np.ndarray[Any, Any]",
    cosines: "np.ndarray[Any, Any]",
    labels: "np.ndarray[Any, Any]",
    *,
    docs: bool,
) -> None:
    ours = points(scores, labels)
    bare = points(cosines, labels)
    mine = _at_threshold(ours, Verifier.load().threshold)
    marked = {
        "GPTCache, default": _at_threshold(bare, 2 * DEFAULT_THRESHOLD - 1),
        f"GPTCache, {EQUAL}": bare[mine.hits - 1],
        f"cosine of {BARE_COSINE}": _at_threshold(bare, BARE_COSINE),
        OURS: mine,
    }
    rows = [_point_row(name, point, len(labels)) for name, point in marked.items()]
    for share in RECALLS:
        for name, curve in (("GPTCache", bare), ("verifier", ours)):
            point = next(point for point in curve if point.recall >= share)
            rows.append(_point_row(f"{name}, {share:.0%} of duplicates", point, len(labels)))
    title = f"{len(labels):,} pairs, each by itself; ours cross-validated"
    report("semantic_quality_pairs", title, rows, [])
    for file in (path(PICTURE), *([IMAGES / PICTURE] if docs else [])):
        _plot(ours, bare, marked, file)


def _at_threshold(curve: Sequence[Point], threshold: float) -> Point:
    return [point for point in curve if point.threshold >= threshold][-1]


def _point_row(name: str, point: Point, pairs: int) -> Row:
    return {
        "decided by": name,
        "hits, %": round(100 * point.hits / pairs, 1),
        "duplicates hit, %": round(100 * point.recall, 1),
        "wrong": point.wrong,
        "wrong per 100": round(100 * point.wrong_of_hits, 1),
    }


def _plot(ours: Sequence[Point], bare: Sequence[Point], marked: Mapping[str, Point], file: Path) -> None:
    mpl.rcParams["svg.hashsalt"] = PICTURE  # the same picture from the same numbers
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, curve in (("threshold on the cosine, as GPTCache's", bare), ("verifier", ours)):
        shown = [point for point in curve if point.hits >= 100][::50]
        axes.plot([100 * p.recall for p in shown], [100 * p.wrong_of_hits for p in shown], label=label)
    for number, (label, point) in enumerate(marked.items()):
        axes.plot(100 * point.recall, 100 * point.wrong_of_hits, "osD^"[number], color="black", label=label)
    axes.set(xlabel="duplicates hit, %", ylabel="wrong per 100 hits", xlim=(0, 100), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE", help="labelled pairs, perhaps compressed by gzip"
    )
    parser.add_argument("--docs", action="store_true", help="keep the plot with the documentation")
    options = parser.parse_args()
    main(options.pairs, docs=options.docs)
