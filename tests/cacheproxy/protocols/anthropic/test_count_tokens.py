from typing import Any

import pytest
from anthropic.pagination import SyncPage
from anthropic.types import ModelInfo

from cacheproxy.protocols.anthropic.count_tokens import DIALECT
from cacheproxy.protocols.anthropic.fields import models_list
from cacheproxy.protocols.anthropic.messages import DIALECT as MESSAGES
from cacheproxy.protocols.request import Incoming
from metering.provider_usage import UsageReport

REQUEST = DIALECT.parse(Incoming(b'{"model":"claude","messages":[{"role":"user","content":"Hello"}]}'))


def test_it_goes_to_the_counter_and_costs_nothing() -> None:
    call = DIALECT.upstream_call(REQUEST, "claude-sonnet-4-5")
    assert (call.path, call.body[:28]) == ("/v1/messages/count_tokens", b'{"model":"claude-sonnet-4-5"')
    rule = {"units": {"per_call": 1}}
    assert DIALECT.usage(REQUEST, {"input_tokens": 12}, rule, 100) == UsageReport()
    assert DIALECT.estimate(REQUEST, {}) == UsageReport()
    assert DIALECT.cacheable(REQUEST)
    assert DIALECT.surface != MESSAGES.surface


@pytest.mark.parametrize(
    ("answer", "expected"),
    [({"input_tokens": 12}, True), ({"input_tokens": "12"}, False), ({}, False), ([], False), (None, False)],
)
def test_an_answer_is_a_count(answer: Any, expected: bool) -> None:
    assert DIALECT.is_answer(REQUEST, answer) is expected


@pytest.mark.parametrize("names", [[], ["claude"], ["a/b", "c"]])
def test_models_are_listed_as_anthropics_client_reads_them(names: list[str]) -> None:
    page = SyncPage[ModelInfo].model_validate(models_list(names))
    assert [model.id for model in page.data] == names
    assert (page.has_more, page.first_id, page.last_id) == (
        False,
        *((names[0], names[-1]) if names else (None, None)),
    )
