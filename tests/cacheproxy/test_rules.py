from typing import Any

import msgspec
import pytest

from cacheproxy.policy import CachePolicy, parse_cache_policy
from cacheproxy.protocols.anthropic.messages import DIALECT as MESSAGES
from cacheproxy.protocols.multipart import File, Form, write_form
from cacheproxy.protocols.openai.audio import TRANSCRIPTIONS
from cacheproxy.protocols.openai.chat import DIALECT as CHAT
from cacheproxy.protocols.openai.completions import DIALECT as COMPLETIONS
from cacheproxy.protocols.openai.embeddings import DIALECT as EMBEDDINGS
from cacheproxy.protocols.openai.responses import DIALECT as RESPONSES
from cacheproxy.protocols.request import Dialect, Incoming, InferenceRequest
from cacheproxy.rules import ModelRules


def rules(**policy: Any) -> ModelRules:
    return ModelRules(parse_cache_policy(policy))


def chat(**fields: Any) -> InferenceRequest:
    document = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return CHAT.parse(Incoming(msgspec.json.encode(document)))


def task(*when: dict[str, Any]) -> ModelRules:
    return rules(tasks=[{"name": "t", "when": list(when), "policy": {"ttl_seconds": 7}}])


def is_task(model: ModelRules, visible: Any) -> bool:
    return model.of(visible).policy.ttl_seconds == 7


@pytest.mark.parametrize(
    ("condition", "visible", "holds"),
    [
        ({"path": "/metadata/task", "equals": "sentiment"}, {"metadata": {"task": "sentiment"}}, True),
        ({"path": "/metadata/task", "equals": "sentiment"}, {"metadata": {"task": "Sentiment"}}, False),
        ({"path": "/metadata/task", "equals": "sentiment"}, {"metadata": "sentiment"}, False),
        ({"path": "/n", "equals": 1}, {"n": 1.0}, True),
        ({"path": "/n", "equals": 1}, {"n": True}, False),
        ({"path": "/n", "equals": True}, {"n": True}, True),
        ({"path": "/n", "equals": False}, {"n": 0}, False),
        (
            {"path": "/messages/*/role", "equals": "tool"},
            {"messages": [{"role": "user"}, {"role": "tool"}]},
            True,
        ),
        (
            {"path": "/messages/0/content", "matches": "(?i)classify"},
            {"messages": [{"content": "Classify."}]},
            True,
        ),
        ({"path": "/messages/0/content", "matches": "(?i)classify"}, {"messages": [{"content": 7}]}, False),
        ({"path": "/tools", "exists": True}, {"tools": None}, True),
        ({"path": "/tools", "exists": True}, {}, False),
        ({"path": "/tools", "exists": False}, {}, True),
        ({"path": "/tools/*", "exists": False}, {"tools": []}, True),
        ({"path": "/tools", "exists": True}, None, False),
    ],
)
def test_a_condition_holds_or_does_not(condition: dict[str, Any], visible: Any, holds: bool) -> None:
    assert is_task(task(condition), visible) is holds


def test_all_conditions_must_hold() -> None:
    both = task({"path": "/a", "equals": 1}, {"path": "/b", "exists": True})
    assert is_task(both, {"a": 1, "b": 0})
    assert not is_task(both, {"a": 1})


def test_the_first_task_that_fits_decides() -> None:
    when = {"path": "/a", "exists": True}
    model = rules(
        ttl_seconds=1,
        tasks=[
            {"name": "one", "when": when, "policy": {"ttl_seconds": 2}},
            {"name": "two", "when": when, "policy": {"ttl_seconds": 3}},
        ],
    )
    assert [model.of(said).policy.ttl_seconds for said in ({"a": 1}, {})] == [2, 1]


def test_other_ways_of_reading_are_other_questions() -> None:
    when = {"path": "/a", "exists": True}
    readings = [
        rules().base.reading,
        rules(volatile_fields=["/a"]).base.reading,
        rules(volatile_fields=["/b"]).base.reading,
        rules(round_digits=2).base.reading,
        rules(round_digits=3).base.reading,
        rules(file_field="a").base.reading,
        rules(file_field="b").base.reading,
        rules(sensitive={"detect": ["card"]}).base.reading,
        rules(sensitive={"detect": ["card"], "action": "mask"}).base.reading,
        rules(tasks=[{"name": "t", "when": when, "policy": {}}]).of({"a": 1}).reading,
        rules(tasks=[{"name": "u", "when": when, "policy": {}}]).of({"a": 1}).reading,
    ]
    assert readings[0] == b""
    assert len(set(readings)) == len(readings)
    assert rules(ttl_seconds=5, cacheable={"tools": False}).base.reading == b""


def test_rules_are_equal_if_their_policies_are() -> None:
    policy = {"sensitive": {"patterns": {"a": "b"}}, "tasks": [{"name": "t", "when": {"path": "/a", "equals": 1},
                                                                "policy": {"scope": "key"}}]}  # fmt: skip
    assert rules(**policy) == rules(**policy)
    assert rules(**policy) != rules()
    assert ModelRules(CachePolicy()) == rules()


@pytest.mark.parametrize(
    ("cacheable", "fields", "may"),
    [
        ({"max_temperature": 0.3}, {"temperature": 0.3}, True),
        ({"max_temperature": 0.3}, {"temperature": 0}, True),
        ({"max_temperature": 0.3}, {"temperature": 0.31}, False),
        ({"max_temperature": 0.3}, {"temperature": "hot"}, False),
        ({"max_temperature": 0.3}, {"temperature": [0.1]}, True),
        ({"max_temperature": 0.3}, {}, False),
        ({"max_temperature": 1}, {}, True),
        ({"tools": False}, {}, True),
        ({"tools": False}, {"tools": []}, True),
        ({"tools": False}, {"tools": [{"type": "function"}]}, False),
        ({"tools": False}, {"functions": [{}]}, False),
        ({"tools": True}, {"tools": [{"type": "function"}]}, True),
    ],
)
def test_requests_that_may_be_kept(cacheable: dict[str, Any], fields: dict[str, Any], may: bool) -> None:
    assert rules(cacheable=cacheable).base.take(CHAT, chat(**fields)) is may


def test_answers_that_are_not_sampled_need_no_temperature() -> None:
    cold = rules(cacheable={"max_temperature": 0}).base
    request = EMBEDDINGS.parse(Incoming(b'{"model":"m","input":"x"}'))
    assert cold.take(EMBEDDINGS, request)
    for temperature, may in (("0", True), ("0.5", False)):
        sound = File("file", "a.wav", "audio/wav", memoryview(b"sound"))
        header, body = write_form(Form((("model", "m"), ("temperature", temperature)), (sound,)))
        assert cold.take(TRANSCRIPTIONS, TRANSCRIPTIONS.parse(Incoming(body, dict([header])))) is may


MESSAGE = {"type": "message", "content": [], "stop_reason": "end_turn"}


@pytest.mark.parametrize(
    ("dialect", "answer", "endings"),
    [
        (CHAT, {"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]}, {"stop", "length"}),
        (CHAT, {"choices": [{"finish_reason": None}]}, {""}),
        (COMPLETIONS, {"choices": [{"finish_reason": "stop"}]}, {"stop"}),
        (MESSAGES, MESSAGE, {"end_turn"}),
        (RESPONSES, {"status": "completed", "incomplete_details": None}, {"completed"}),
        (
            RESPONSES,
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            {"content_filter"},
        ),
        (EMBEDDINGS, {"data": []}, set()),
    ],
)
def test_why_answers_ended(dialect: Dialect, answer: Any, endings: set[str]) -> None:
    assert set(dialect.endings(answer)) == endings
    only = rules(cacheable={"finish_reasons": ["stop", "end_turn", "completed"]}).base
    assert only.keep(dialect, answer, 1) is (endings <= {"stop", "end_turn", "completed"})


def test_answers_above_a_size_are_not_kept() -> None:
    small = rules(cacheable={"max_bytes": 10}).base
    assert [small.keep(CHAT, {}, size) for size in (10, 11)] == [True, False]
