"""What an error budget holds: 20,000 calls of made-up traffic through it, many times, well-behaved and not.

45 of 100 calls find a candidate; its score and the cell of its vector are drawn, and whether its answer is wrong is
drawn too, by the case's own error, which the budget is not told. Printed are means over seeds, and of the
realised error its worst. ``--docs`` draws the plot into ``docs/images`` too.
"""

import argparse
import itertools
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.results import IMAGES, Target, path, progress, report
from cacheproxy.semantic.budget.bounds import upper
from cacheproxy.semantic.budget.budget import Budget
from cacheproxy.semantic.budget.rules import CELLS, LEAST_SCORE, Rules, region_of

REQUESTS = 20_000
FOUND = 0.45
SEEDS = 20
DRIFTS_AT = REQUESTS // 2
BAD_CELL = 3
BUDGET = 0.01
ALPHA = 0.05
PICTURE = "semantic-budget.svg"
STEP = 250
"""Requests between two points of the plot."""

Error: TypeAlias = Callable[[int, float, int], float]
"""Number of the request, score, cell → the chance that the candidate's answer is wrong."""

CASES: Mapping[str, Error] = {
    "as calibrated": lambda _number, score, _cell: 1 - score,
    "three times as wrong as calibrated": lambda _number, score, _cell: min(1.0, 3 * (1 - score)),
    "scores say nothing: 10 % wrong": lambda _number, _score, _cell: 0.1,
    "one cell in 16 is 40 % wrong": lambda _number, score, cell: 0.4 if cell == BAD_CELL else (1 - score) / 2,
    "error creeps up by 10 %": lambda number, score, _cell: (1 - score) / 2 + 0.1 * number / REQUESTS,
    "60 % of answers change half-way": lambda number, score, _cell: (
        (1 - score) / 2 if number < DRIFTS_AT else 0.6
    ),
    "all answers change half-way": lambda number, score, _cell: (
        (1 - score) / 2 if number < DRIFTS_AT else 1.0
    ),
}
DRIFTS = ("60 % of answers change half-way", "all answers change half-way")
RULES: Mapping[str, Rules] = {
    "default": Rules(budget=BUDGET),
    "without trust": Rules(budget=BUDGET, trust=0),
    "1 % of hits": Rules(budget=BUDGET, wrong_of_hits=0.01),
}


class Point(NamedTuple):
    """Where a run stands."""

    number: int
    hits: int
    wrong: int
    bound: float
    tolerance: float


class Run(NamedTuple):
    """What came of one."""

    hits: int
    wrong: int
    checked: int
    """Of the hits."""
    drifts: int
    shut_at: int | None
    """The first request at which hits were shut off after `DRIFTS_AT`."""
    points: list[Point]

    @property
    def of_calls(self) -> float:
        """Return the share of the calls that got a wrong answer."""
        return self.wrong / REQUESTS

    @property
    def of_hits(self) -> float:
        """Return the share of the hits that were wrong."""
        return self.wrong / max(1, self.hits)


def simulate(error: Error, rules: Rules, seed: int) -> Run:
    """Return what comes of 20,000 calls whose candidates are wrong as *error* says."""
    draw = random.Random(seed)
    budget = Budget(rules, draw)
    hits = wrong_hits = checked = 0
    shut_at, points = None, []
    for number in range(REQUESTS):
        score, cell = 1 - draw.betavariate(0.5, 12), draw.randrange(CELLS)
        found = draw.random() < FOUND and score >= LEAST_SCORE
        decision = budget.decide(region_of(cell, score) if found else None)
        if decision is not None:
            wrong = draw.random() < error(number, score, cell)
            hits += decision.serve
            wrong_hits += decision.serve and wrong
            checked += decision.serve and decision.check
            if decision.check:
                budget.checked(region_of(cell, score), wrong=wrong)
        if budget.account.state.shut and number >= DRIFTS_AT and shut_at is None:
            shut_at = number
        if number % STEP == 0:
            points.append(Point(number, hits, wrong_hits, budget.account.upper, budget.account.tolerance))
    return Run(hits, wrong_hits, checked, budget.account.state.drifts, shut_at, points)


def _run(rules_name: str, case: str, seed: int) -> Run:
    return simulate(CASES[case], RULES[rules_name], seed)


def main(*, docs: bool = False) -> None:
    """Simulate every case under every rules, print the table, write the JSON and the plot."""
    with ProcessPoolExecutor() as pool:
        outcomes = {
            (name, case): list(pool.map(_run, repeat(name), repeat(case), range(SEEDS)))
            for name, case in progress("semantic_budget", list(itertools.product(RULES, CASES)))
        }
    rows = [_row(name, case, runs) for (name, case), runs in outcomes.items()]
    report("semantic_budget", f"{REQUESTS:,} calls, {SEEDS} seeds", rows, _targets(outcomes))
    for file in (path(PICTURE), *([IMAGES / PICTURE] if docs else [])):
        draw_plot(file)


def _row(rules: str, case: str, runs: Sequence[Run]) -> dict[str, Any]:
    shut_after = [run.shut_at - DRIFTS_AT for run in runs if run.drifts and run.shut_at is not None]
    hits = sum(run.hits for run in runs)
    return {
        "rules": rules,
        "case": case,
        "hits, %": round(100 * hits / REQUESTS / SEEDS, 1),
        "wrong of calls, %": round(100 * statistics.fmean(run.of_calls for run in runs), 2),
        "worst seed, %": round(100 * max(run.of_calls for run in runs), 2),
        "its 95 % bound, %": round(100 * _bound(runs), 2),
        "wrong of hits, %": round(100 * statistics.fmean(run.of_hits for run in runs), 2),
        "hits checked, %": round(100 * sum(run.checked for run in runs) / max(1, hits), 1),
        "drift seen": f"{sum(bool(run.drifts) for run in runs)} of {SEEDS}",
        "after calls": f"{statistics.fmean(shut_after):.0f}" if shut_after else "",
        "at most": f"{max(shut_after):.0f}" if shut_after else "",
    }


def _bound(runs: Sequence[Run]) -> float:
    """Return what share of the calls is wrong at most, with 95 % confidence, by the worst of *runs*."""
    return upper(max(run.wrong for run in runs), REQUESTS, ALPHA)


def _targets(outcomes: Mapping[tuple[str, str], Sequence[Run]]) -> list[Target]:
    worst = max(map(_bound, outcomes.values()))
    text = "wrong of calls, 95 % bound of the worst seed of the worst case"
    shut = [
        all(run.drifts for run in runs)
        for (rules, case), runs in outcomes.items()
        if rules == "default" and case in DRIFTS
    ]
    return [
        Target(text, worst, BUDGET, at_most=True),
        Target("cases of drift in which every seed was shut off", sum(shut), len(shut)),
    ]


def draw_plot(file: Path) -> None:
    """Draw what happens when 60 % of the answers change half-way, with five seeds."""
    mpl.rcParams["svg.hashsalt"] = PICTURE  # the same picture from the same numbers
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for seed in range(5):
        points = simulate(CASES[DRIFTS[0]], RULES["default"], seed).points[1:]
        calls = [point.number for point in points]
        label = (lambda text: text) if seed == 0 else (lambda _text: "_")
        axes.plot(
            calls,
            [100 * point.wrong / point.number for point in points],
            "C3",
            label=label("wrong, of calls"),
        )
        axes.plot(
            calls, [100 * min(point.bound, 0.06) for point in points], "C0", lw=0.8,
            label=label("bound, of hits"),
        )  # fmt: skip
        axes.plot(
            calls,
            [100 * point.tolerance for point in points],
            "C7--",
            lw=0.8,
            label=label("tolerated, of hits"),
        )
    axes.axhline(100 * BUDGET, color="black", lw=0.8, label="budget, of calls")
    axes.set(xlabel="calls", ylabel="%", ylim=(0, 6), xlim=(0, REQUESTS))
    axes.legend(loc="upper right")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true", help="keep the plot with the documentation")
    main(docs=parser.parse_args().docs)
