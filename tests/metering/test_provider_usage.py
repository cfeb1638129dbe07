"""Each row of the table is a report as a provider sends it, and what it must become."""

from collections.abc import Callable
from typing import Any

import pytest

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
from metering.tokens import TokenPools

Usage = dict[str, Any]

REPORTS: dict[str, tuple[Callable[[Usage], UsageReport], Usage, UsageReport]] = {
    "OpenAI: cached and reasoning are slices": (
        openai_chat,
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 256, "accepted_prediction_tokens": 0},
        },
        UsageReport(TokenPools(input=86, cache_read=1920, output=300), 256),
    ),
    "OpenAI: written tokens are a slice too": (
        openai_chat,
        {
            "prompt_tokens": 100,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        },
        UsageReport(TokenPools(input=10, cache_read=60, cache_write=30, output=1)),
    ),
    "vLLM: details are null": (
        openai_chat,
        {
            "prompt_tokens": 9,
            "total_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        UsageReport(TokenPools(input=9, output=3)),
    ),
    "LitServe: the total is left at 0": (
        openai_chat,
        {"prompt_tokens": 9, "total_tokens": 0, "completion_tokens": 3},
        UsageReport(TokenPools(input=9, output=3)),
    ),
    "xAI: reasoning lies beside the completion, the total says so": (
        openai_chat,
        {
            "prompt_tokens": 37,
            "completion_tokens": 530,
            "total_tokens": 800,
            "prompt_tokens_details": {"text_tokens": 37, "cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 233},
            "num_sources_used": 0,
        },
        UsageReport(TokenPools(input=29, cache_read=8, output=763), 233),
    ),
    "OpenRouter: a cost beside the counts": (
        openai_chat,
        {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "total_tokens": 12,
            "cost": 0.00014,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 8},
        },
        UsageReport(TokenPools(input=2, cache_write=8, output=2)),
    ),
    "OpenAI responses": (
        openai_responses,
        {
            "input_tokens": 328,
            "input_tokens_details": {"cached_tokens": 128, "cache_write_tokens": 100},
            "output_tokens": 52,
            "output_tokens_details": {"reasoning_tokens": 12},
            "total_tokens": 380,
        },
        UsageReport(TokenPools(input=100, cache_read=128, cache_write=100, output=52), 12),
    ),
    "OpenAI embeddings": (
        openai_embeddings,
        {"prompt_tokens": 8, "total_tokens": 8},
        UsageReport(TokenPools(input=8)),
    ),
    "Voyage embeddings: the total only": (
        openai_embeddings,
        {"total_tokens": 8},
        UsageReport(TokenPools(input=8)),
    ),
    "Anthropic: input excludes both cache pools": (
        anthropic,
        {
            "input_tokens": 2048,
            "cache_read_input_tokens": 1800,
            "cache_creation_input_tokens": 248,
            "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 503,
            "service_tier": "standard",
        },
        UsageReport(TokenPools(input=2048, cache_read=1800, cache_write=148, cache_write_1h=100, output=503)),
    ),
    "Anthropic: a null split is no reason to bill writes at 0 (new-api 6353)": (
        anthropic,
        {"input_tokens": 5, "cache_creation_input_tokens": 248, "cache_creation": None, "output_tokens": 1},
        UsageReport(TokenPools(input=5, cache_write=248, output=1)),
    ),
    "Anthropic: halves of a split may be null": (
        anthropic,
        {
            "input_tokens": 5,
            "cache_creation_input_tokens": 248,
            "cache_creation": {"ephemeral_5m_input_tokens": None, "ephemeral_1h_input_tokens": 48},
            "output_tokens": 1,
        },
        UsageReport(TokenPools(input=5, cache_write=200, cache_write_1h=48, output=1)),
    ),
    "Anthropic: a split without its total": (
        anthropic,
        {
            "input_tokens": 5,
            "cache_read_input_tokens": None,
            "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 8},
            "output_tokens": 1,
        },
        UsageReport(TokenPools(input=5, cache_write=7, cache_write_1h=8, output=1)),
    ),
    "DeepSeek: hits and misses are the prompt": (
        deepseek,
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 15},
        },
        UsageReport(TokenPools(input=36, cache_read=64, output=20), 15),
    ),
    "Moonshot: cached tokens at the top": (
        moonshot,
        {"prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10},
        UsageReport(TokenPools(input=9, cache_read=10, output=21)),
    ),
    "Qwen: created cache is a slice": (
        qwen,
        {
            "prompt_tokens": 1500,
            "completion_tokens": 10,
            "total_tokens": 1510,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_creation_input_tokens": 1400,
                "cache_creation": {"ephemeral_5m_input_tokens": 1400},
                "cache_type": "ephemeral",
            },
        },
        UsageReport(TokenPools(input=100, cache_write=1400, output=10)),
    ),
    "DashScope: the same under its own names": (
        qwen,
        {
            "input_tokens": 1500,
            "output_tokens": 10,
            "total_tokens": 1510,
            "prompt_tokens_details": {"cached_tokens": 1400},
        },
        UsageReport(TokenPools(input=100, cache_read=1400, output=10)),
    ),
    "Gemini: thoughts lie beside the candidates": (
        gemini,
        {
            "promptTokenCount": 20,
            "cachedContentTokenCount": 12,
            "candidatesTokenCount": 198,
            "thoughtsTokenCount": 405,
            "totalTokenCount": 623,
        },
        UsageReport(TokenPools(input=8, cache_read=12, output=603), 405),
    ),
    "Gemini: the prompts of tools are input": (
        gemini,
        {
            "promptTokenCount": 20,
            "toolUsePromptTokenCount": 5,
            "candidatesTokenCount": 1,
            "totalTokenCount": 26,
        },
        UsageReport(TokenPools(input=25, output=1)),
    ),
    "Gemini: zeros are left out": (
        gemini,
        {"promptTokenCount": 21, "thoughtsTokenCount": 60, "totalTokenCount": 81},
        UsageReport(TokenPools(input=21, output=60), 60),
    ),
}

CONTRADICTIONS: dict[str, tuple[Callable[[Usage], UsageReport], Usage, str]] = {
    "more cached than given": (
        openai_chat,
        {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 120}},
        r"prompt_tokens_details.cached_tokens \+ \S+cache_write_tokens is 120 but prompt_tokens is 100",
    ),
    "slices that overlap": (
        openai_chat,
        {
            "prompt_tokens": 100,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 60},
        },
        "is 120 but prompt_tokens is 100",
    ),
    "more reasoning than output": (
        openai_chat,
        {"prompt_tokens": 1, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}},
        "completion_tokens_details.reasoning_tokens is 6 but completion_tokens is 5",
    ),
    "a total with tokens that no field names": (
        openai_chat,
        {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 114},
        r"total_tokens is 114 but prompt_tokens \+ completion_tokens is 14",
    ),
    "a total below its parts": (
        openai_responses,
        {"input_tokens": 5, "output_tokens": 9, "total_tokens": 13},
        r"total_tokens is 13 but input_tokens \+ output_tokens is 14",
    ),
    "an embedding that produced": (
        openai_embeddings,
        {"prompt_tokens": 5, "total_tokens": 6},
        r"total_tokens is 6 but prompt_tokens \+ completion_tokens is 5",
    ),
    "a split above its whole": (
        anthropic,
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 5},
        },
        "is 11 but cache_creation_input_tokens is 10",
    ),
    "hits and misses that are not the prompt": (
        deepseek,
        {
            "prompt_tokens": 100,
            "completion_tokens": 1,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 35,
        },
        r"prompt_tokens is 100 but prompt_cache_hit_tokens \+ prompt_cache_miss_tokens is 99",
    ),
    "two spellings that differ": (
        moonshot,
        {
            "prompt_tokens": 19,
            "completion_tokens": 1,
            "cached_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 9},
        },
        "cached_tokens is 10 but prompt_tokens_details.cached_tokens is 9",
    ),
    "Gemini: more cached than given": (
        gemini,
        {"promptTokenCount": 5, "cachedContentTokenCount": 6},
        "cachedContentTokenCount is 6 but promptTokenCount is 5",
    ),
    "Gemini: a total that is not the sum": (
        gemini,
        {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 12},
        "totalTokenCount is 12 but .* is 11",
    ),
    "a negative": (
        openai_chat,
        {"prompt_tokens": -1, "completion_tokens": 1},
        "prompt_tokens is -1, not between 0",
    ),
    "a detail below zero, which would inflate the rest": (
        openai_chat,
        {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": -5}},
        "prompt_tokens_details.cached_tokens is -5, not between 0",
    ),
    "a fraction": (
        openai_chat,
        {"prompt_tokens": 1.0, "completion_tokens": 1},
        "prompt_tokens is 1.0, not an integer",
    ),
    "a text": (anthropic, {"input_tokens": "12", "output_tokens": 1}, "input_tokens is '12', not an integer"),
    "a bool": (
        openai_chat,
        {"prompt_tokens": 1, "completion_tokens": True},
        "completion_tokens is True, not an integer",
    ),
    "a number beyond belief": (
        openai_chat,
        {"prompt_tokens": 10**30, "completion_tokens": 1},
        "not between 0 and",
    ),
    "no input figure": (openai_chat, {"completion_tokens": 1}, "prompt_tokens is missing"),
    "no output figure": (openai_chat, {"prompt_tokens": 1}, "completion_tokens is missing"),
    "a detail that is a list": (
        openai_chat,
        {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": []},
        r"prompt_tokens_details is \[\], not an object",
    ),
    "no dialect": (report, {"tokens": 5, "cost": 1}, "no known token counts among: cost, tokens"),
    "nothing": (report, {}, "no known token counts among: nothing"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_becomes_disjoint_pools(name: str) -> None:
    dialect, usage, expected = REPORTS[name]
    assert dialect(usage) == expected


@pytest.mark.parametrize("name", [name for name, row in REPORTS.items() if row[0] is not openai_embeddings])
def test_a_report_is_known_by_its_fields(name: str) -> None:
    _, usage, expected = REPORTS[name]
    assert report(usage) == expected


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_with_both_numbers(name: str) -> None:
    dialect, usage, message = CONTRADICTIONS[name]
    with pytest.raises(UsageMismatch, match=message):
        dialect(usage)
