"""Charts as chart.js reads them: the library and its loader come with unfold and are served locally."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from billing.money import format_decimal

GREY, BLUE, GREEN, PALE = "#94a3b8", "#0284c7", "#34d399", "#bae6fd"
TICKS = "#9ca3af"


class Series(NamedTuple):
    """One row of bars, a figure for each label. Decimals stay exact: chart.js reads them as text."""

    label: str
    figures: Sequence[int | Decimal]
    colour: str


class Chart(NamedTuple):
    """A chart ready for unfold's component."""

    title: str
    data: str
    options: str


def bars(title: str, labels: Sequence[str], series: Sequence[Series], *, stacked: bool = True) -> Chart:
    """Return a bar chart of the series over the labels, one on top of the other where *stacked*."""
    datasets = [
        {
            "label": one.label,
            "data": [_figure(figure) for figure in one.figures],
            "backgroundColor": one.colour,
        }
        for one in series
    ]
    return Chart(title, _json({"labels": labels, "datasets": datasets}), _json(_options(stacked=stacked)))


def _figure(figure: int | Decimal) -> int | str:
    return figure if isinstance(figure, int) else format_decimal(figure)


def _options(*, stacked: bool) -> dict[str, Any]:
    legend_labels = {
        "boxWidth": 7,
        "boxHeight": 7,
        "usePointStyle": True,
        "pointStyle": "circle",
        "color": TICKS,
    }
    return {
        "animation": False,
        "maintainAspectRatio": False,
        "interaction": {"mode": "index", "intersect": False},
        "datasets": {"bar": {"maxBarThickness": 20, "borderRadius": 2}},
        "plugins": {"legend": {"align": "end", "labels": legend_labels}},
        "scales": {
            "x": {
                "stacked": stacked,
                "grid": {"display": False},
                "ticks": {"color": TICKS, "maxRotation": 0, "maxTicksLimit": 8},
            },
            "y": {
                "stacked": stacked,
                "beginAtZero": True,
                "border": {"display": False},
                "grid": {},
                "ticks": {"color": TICKS, "maxTicksLimit": 5},
            },
        },
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
