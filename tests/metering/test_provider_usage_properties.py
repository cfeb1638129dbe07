"""Whatever a provider says of a call, in whichever words: the pools are what it said, or the report is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.provider_usage import (
    UsageMismatch,
    UsageReport,
    anthropic,
    deepseek,
    gemini,
    moonshot,
    openai_chat,
    openai_embeddings,
    openai_responses,
    qwen,
    report,
)
from metering.tokens import MAX_COUNT, TokenPools

Usage = dict[str, Any]
QUICK = settings(deadline=None, max_examples=60)

counts = st.integers(0, MAX_COUNT // 10)
pools = st.builds(TokenPools, counts, counts, counts, counts, counts)


def as_openai(said: TokenPools, reasoning: int) -> Usage:
    return {
        "prompt_tokens": said.given,
        "completion_tokens": said.output,
        "total_tokens": said.total,
        "prompt_tokens_details": {"cached_tokens": said.cache_read, "cache_write_tokens": said.cache_write},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def as_responses(said: TokenPools, reasoning: int) -> Usage:
    return {
        "input_tokens": said.given,
        "output_tokens": said.output,
        "total_tokens": said.total,
        "input_tokens_details": {"cached_tokens": said.cache_read, "cache_write_tokens": said.cache_write},
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }


def as_qwen(said: TokenPools, reasoning: int) -> Usage:
    details = {"cached_tokens": said.cache_read, "cache_creation_input_tokens": said.cache_write}
    return as_openai(said, reasoning) | {"prompt_tokens_details": details}


def as_deepseek(said: TokenPools, reasoning: int) -> Usage:
    miss = said.given - said.cache_read
    return as_openai(said, reasoning) | {
        "prompt_cache_hit_tokens": said.cache_read,
        "prompt_cache_miss_tokens": miss,
    }


def as_anthropic(said: TokenPools, reasoning: int) -> Usage:
    return {
        "input_tokens": said.input,
        "cache_read_input_tokens": said.cache_read,
        "cache_creation_input_tokens": said.cache_write + said.cache_write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": said.cache_write,
            "ephemeral_1h_input_tokens": said.cache_write_1h,
        },
        "output_tokens": said.output,
        "output_tokens_details": {"thinking_tokens": reasoning},
    }


def as_gemini(said: TokenPools, reasoning: int) -> Usage:
    return {
        "promptTokenCount": said.given,
        "cachedContentTokenCount": said.cache_read,
        "candidatesTokenCount": said.output - reasoning,
        "thoughtsTokenCount": reasoning,
        "totalTokenCount": said.total,
    }


SPEAKERS = [
    (as_openai, openai_chat, {"cache_write_1h"}),
    (as_responses, openai_responses, {"cache_write_1h"}),
    (as_qwen, qwen, {"cache_write_1h"}),
    (as_deepseek, deepseek, {"cache_write_1h"}),
    (as_anthropic, anthropic, set[str]()),
    (as_gemini, gemini, {"cache_write", "cache_write_1h"}),
]


@pytest.mark.parametrize(("speak", "understand", "unspoken"), SPEAKERS)
@QUICK
@given(said=pools, share=st.integers(0, 100))
def test_pools_are_what_the_provider_said(
    speak: Callable[[TokenPools, int], Usage],
    understand: Callable[[Usage], UsageReport],
    unspoken: set[str],
    said: TokenPools,
    share: int,
) -> None:
    """No token is lost, counted twice, or moved to another pool, in any dialect that has the pool."""
    said = said._replace(**dict.fromkeys(unspoken, 0))
    reasoning = said.output * share // 100
    understood = understand(speak(said, reasoning))
    assert understood.pools == said
    assert understood == report(speak(said, reasoning))
    assert understood.output_reasoning == reasoning


leaves = st.none() | st.integers(-5, 300) | st.sampled_from([True, "7", 1.5, [], 10**40])
fields = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cached_tokens",
        "prompt_cache_hit_tokens",
        "prompt_cache_miss_tokens",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "promptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "totalTokenCount",
    ]
)
details = st.dictionaries(
    st.sampled_from(
        ["cached_tokens", "cache_write_tokens", "cache_creation_input_tokens", "reasoning_tokens"]
    ),
    leaves,
)
usages = st.builds(
    lambda top, prompt, completion: (
        top | {"prompt_tokens_details": prompt, "completion_tokens_details": completion}
    ),
    st.dictionaries(fields, leaves),
    st.none() | details,
    st.none() | details,
)


TOTALS: list[tuple[Callable[[Usage], UsageReport], str]] = [
    (openai_chat, "total_tokens"),
    (openai_responses, "total_tokens"),
    (openai_embeddings, "total_tokens"),
    (deepseek, "total_tokens"),
    (moonshot, "total_tokens"),
    (qwen, "total_tokens"),
    (gemini, "totalTokenCount"),
    (anthropic, "no total"),
    (report, "no total"),
]


@pytest.mark.parametrize(("dialect", "total"), TOTALS)
@QUICK
@given(usages)
def test_any_report_is_understood_whole_or_refused(
    dialect: Callable[[Usage], UsageReport], total: str, usage: Usage
) -> None:
    """Whatever comes: no other error, no negative, no silent loss against the total that was said."""
    try:
        understood = dialect(usage)
    except UsageMismatch:
        return
    assert min(understood.pools) >= 0
    assert 0 <= understood.output_reasoning <= understood.pools.output
    assert not usage.get(total) or understood.pools.total == usage[total]


@QUICK
@given(said=pools, field=st.sampled_from(["prompt_tokens", "completion_tokens"]), more=st.integers(1, 1000))
def test_a_figure_that_grows_alone_is_noticed(said: TokenPools, field: str, more: int) -> None:
    usage = as_openai(said._replace(output=said.output + 1), 0)
    with pytest.raises(UsageMismatch):
        openai_chat(usage | {field: usage[field] + more})
