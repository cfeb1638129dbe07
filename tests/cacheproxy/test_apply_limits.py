"""Limits and budgets in the catalog file: with a diff, dry runs and mistakes by line, as all else in it."""

from decimal import Decimal

import pytest
from django.core.management import CommandError

from billing.models import Budget, Plan
from tests.cacheproxy.test_apply import CATALOG, Run, run

__all__ = ["run"]
pytestmark = pytest.mark.django_db

LIMITED = CATALOG.replace(
    "    prices:\n",
    "    limits: {requests_per_minute: 60, tokens_per_minute: 90000, count_hits: true, enable_cache: false}\n"
    "    prices:\n",
).replace(
    "plan: standard}",
    """plan: standard,
     budgets: [{period: month, soft: "80", hard: "100", email: ap@acme.example}, {period: day, hard: "9.5"}]}""",
)


def test_limits_and_budgets_are_applied_and_told(run: Run) -> None:
    lines = run(LIMITED)
    assert lines[-1] == "15 changed."
    assert "+ tenant acme: budget of a month soft 80, hard 100, ap@acme.example" in lines
    assert "+ tenant acme: budget of a day hard 9.5" in lines
    plan = Plan.objects.get()
    assert (plan.requests_per_minute, plan.tokens_per_minute, plan.count_hits) == (60, 90_000, True)
    assert not plan.enable_cache
    assert (plan.concurrent_requests, plan.drain_seconds) == (None, 30)
    assert run(LIMITED) == ["Nothing to change."]


def test_a_dry_run_tells_the_same_and_writes_nothing(run: Run) -> None:
    dry = run(LIMITED, dry_run=True)
    assert not Budget.objects.exists()
    assert dry[:-1] == run(LIMITED)[:-1]


def test_what_the_file_does_not_say_stays_and_what_it_says_is_whole(run: Run) -> None:
    run(LIMITED)
    assert run(CATALOG) == ["Nothing to change."]
    changes = run(LIMITED.replace("requests_per_minute: 60, ", "").replace('hard: "9.5"', 'hard: "10"'))
    assert changes == [
        "~ plan standard: requests_per_minute 60 → –",
        "~ tenant acme: budget of a day hard 9.5 → day hard 10",
        "2 changed.",
    ]
    assert Plan.objects.get().requests_per_minute is None
    assert Budget.objects.get(period="day").hard_amount == Decimal(10)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            "requests_per_minute: 60",
            "requests_per_minute: 0",
            r"line 13: plans\[0\].limits.requests_per_minute: ",
        ),
        (
            "requests_per_minute",
            "rpm",
            r"line 13: plans\[0\].limits.rpm: unknown field; there are requests_per_minute",
        ),
        ('hard: "100"', "hard: 100", r"line 19: tenants\[0\].budgets\[0\].hard: must be a string"),
        ('soft: "80"', 'soft: "101"', r"line 19: The soft amount is at most the hard one"),
        ('{period: day, hard: "9.5"}', "{period: day}", r"line 19: Give a soft amount, a hard one, or both"),
        ("period: day", "period: month", r"line 19: budgets: month is given twice"),
        ("period: day", "period: year", r"line 19: tenants\[0\].budgets\[1\].period: "),
        ("ap@acme.example", "nobody", r"line 19: tenants\[0\].budgets\[0\].email: "),
    ],
)
def test_a_mistake_names_its_line_and_nothing_is_written(
    run: Run, right: str, wrong: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run(LIMITED.replace(right, wrong))
    assert not Plan.objects.exists()
