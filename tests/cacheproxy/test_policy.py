from typing import Any

import pytest

from cacheproxy.policy import CachePolicy, PolicyError, parse_cache_policy


def test_nothing_stated_is_the_default() -> None:
    assert parse_cache_policy({}) == CachePolicy()


TASK = {"name": "sentiment", "when": {"path": "/metadata/task", "equals": "sentiment"}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"ttl_seconds": 0}, r"^cache.ttl_seconds: Expected `int` >= 1"),
        ({"unheard_of": 1}, r"unknown field `unheard_of`"),
        ({"volatile_fields": ["a"]}, r"^cache.volatile_fields\[0\]"),
        ({"round_digits": 16}, r"^cache.round_digits"),
        ({"early_refresh": -1}, r"^cache.early_refresh"),
        ({"stale_while_revalidate_seconds": -1}, r"^cache.stale_while_revalidate_seconds"),
        ({"early_refresh": 1, "coalesce": False}, r"^cache.coalesce: .* need it"),
        (
            {"early_refresh": 1, "tasks": [{**TASK, "policy": {"coalesce": False}}]},
            r"^cache.tasks\[0\].policy.coalesce: .* need it",
        ),
        ({"file_field": "/image"}, r"^cache.file_field"),
        ({"cacheable": {"finish_reasons": []}}, r"^cache.cacheable.finish_reasons"),
        ({"sensitive": {}}, r"^cache.sensitive: say what it is"),
        ({"sensitive": {"detect": ["names"]}}, r"^cache.sensitive.detect"),
        (
            {"sensitive": {"patterns": {"staff": "("}}},
            r"^cache.sensitive.patterns.staff: '\(' is no expression",
        ),
        ({"sensitive": {"patterns": {"two words": "x"}}}, r"^cache.sensitive.patterns"),
        ({"sensitive": {"patterns": {f"p{n}": "x" for n in range(33)}}}, r"^cache.sensitive.patterns"),
        ({"tasks": [{"name": "a", "when": [], "policy": {}}]}, r"^cache.tasks\[0\].when"),
        (
            {"tasks": [{"name": "a", "when": {"path": "/a"}, "policy": {}}]},
            r"^cache.tasks\[0\].when: name exactly one",
        ),
        (
            {"tasks": [{"name": "a", "when": {"path": "/a", "equals": 1, "exists": True}, "policy": {}}]},
            r"^cache.tasks\[0\].when: name exactly one",
        ),
        (
            {"tasks": [{"name": "a", "when": {"path": "/a", "matches": "(?=x)"}, "policy": {}}]},
            r"^cache.tasks\[0\].when.matches: .* is no expression",
        ),
        (
            {"tasks": [{**TASK, "policy": {"ttl_seconds": 0}}]},
            r"^cache.tasks\[0\].policy.ttl_seconds: Expected",
        ),
        (
            {"tasks": [{**TASK, "policy": {"ttl": 1}}]},
            r"^cache.tasks\[0\].policy: Object contains unknown field `ttl`",
        ),
        (
            {"tasks": [{**TASK, "policy": {"tasks": []}}]},
            r"^cache.tasks\[0\].policy.tasks: a task has no tasks",
        ),
        ({"tasks": [{**TASK, "policy": {}}] * 2}, r"^cache.tasks: two have the same name"),
    ],
)
def test_what_is_wrong_is_named(value: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_cache_policy(value)


def test_a_task_changes_what_it_names_and_nothing_else() -> None:
    policy = parse_cache_policy(
        {
            "ttl_seconds": 60,
            "scope": "session",
            "semantic": {"threshold": 0.9},
            "tasks": [{**TASK, "policy": {"ttl_seconds": 600, "semantic": None}}],
        }
    )
    assert policy.of_task(policy.tasks[0]) == CachePolicy(ttl_seconds=600, scope="session")
