"""Provider reports to token pools: one plain function per dialect, exact or refused.

Providers differ in whether cached tokens lie inside their input figure, whether reasoning lies inside their
output figure, and in every name. What comes out is always the same: disjoint pools that add up to what the
provider said. A figure that is absent or null counts as 0 where the provider leaves it out for "none";
nothing else is filled in.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import ceil
from numbers import Real
from typing import Any, NamedTuple

from metering.tokens import MAX_COUNT, TokenPools

Usage = Mapping[str, Any]
_NOTHING: Usage = {}


class UsageMismatch(ValueError):
    """A provider's report contradicts itself. The message names both numbers and their fields."""


class UsageReport(NamedTuple):
    """What a call used.

    `output_reasoning` is a detail of the `output` pool; `units` are what a metering rule counts (pages,
    images).
    """

    pools: TokenPools = TokenPools()
    output_reasoning: int = 0
    units: int = 0


def report(usage: Usage) -> UsageReport:
    """Return the pools of a report whose provider is known only by the fields that it uses.

    Raises:
        UsageMismatch: the report contradicts itself, or no dialect speaks so.
    """
    if "prompt_tokens" in usage:
        return _prompt_dialect(usage)(usage)
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        return anthropic(usage)
    if "input_tokens" in usage:
        return qwen(usage) if "prompt_tokens_details" in usage else openai_responses(usage)
    if "promptTokenCount" in usage:
        return gemini(usage)
    raise UsageMismatch(f"no known token counts among: {', '.join(sorted(usage)) or 'nothing'}")


def openai_chat(usage: Usage) -> UsageReport:
    """Return the pools of an OpenAI chat report; OpenRouter, xAI, vLLM and Gemini's OpenAI surface too.

    Cached and written tokens are slices of `prompt_tokens`. Reasoning is a slice of `completion_tokens`, or
    lies beside it (xAI) where `total_tokens` says so.

    Raises:
        UsageMismatch: a detail is larger than its whole, or the total is not the sum.
    """
    return _sliced(usage, _CHAT)


def moonshot(usage: Usage) -> UsageReport:
    """Return the pools of a Moonshot report: OpenAI's, with `cached_tokens` at the top.

    Raises:
        UsageMismatch: as `openai_chat`, or the two spellings of the cached tokens differ.
    """
    return _sliced(usage, _CHAT._replace(read=("cached_tokens", *_CHAT.read)))


def deepseek(usage: Usage) -> UsageReport:
    """Return the pools of a DeepSeek report: cache hits and misses make up the prompt.

    Raises:
        UsageMismatch: as `openai_chat`, or hits and misses do not add up to the prompt.
    """
    hits, misses = _required(usage, "prompt_cache_hit_tokens"), _required(usage, "prompt_cache_miss_tokens")
    parts = "prompt_cache_hit_tokens", "prompt_cache_miss_tokens"
    _add_up(parts, hits + misses, "prompt_tokens", usage)
    return _sliced(usage, _CHAT._replace(read=("prompt_cache_hit_tokens", *_CHAT.read)))


def qwen(usage: Usage) -> UsageReport:
    """Return the pools of a Qwen report, from DashScope itself (`input_tokens`) or its OpenAI surface.

    Raises:
        UsageMismatch: as `openai_chat`.
    """
    names = (
        _CHAT if "prompt_tokens" in usage else _CHAT._replace(whole="input_tokens", output="output_tokens")
    )
    return _sliced(usage, names._replace(written="prompt_tokens_details.cache_creation_input_tokens"))


def openai_responses(usage: Usage) -> UsageReport:
    """Return the pools of an OpenAI responses report: chat's under other names.

    Raises:
        UsageMismatch: as `openai_chat`.
    """
    return _sliced(usage, _RESPONSES)


def openai_embeddings(usage: Usage) -> UsageReport:
    """Return the pools of an embeddings report. Some servers give the total only: it is all input.

    Raises:
        UsageMismatch: the total is not the prompt, or neither is given.
    """
    if usage.get("prompt_tokens") is None:
        return UsageReport(TokenPools(input=_required(usage, "total_tokens")))
    return _sliced({"completion_tokens": 0, **usage}, _CHAT)


def transcription(usage: Usage) -> UsageReport:
    """Return what an audio report says: the sound's seconds as units, rounded up, or tokens (OpenAI's, vLLM's).

    Raises:
        UsageMismatch: as `report`, or the seconds are no number.
    """
    if "seconds" in usage:
        return UsageReport(units=rounded_up("seconds", usage["seconds"]))
    return report(usage)


def rerank(answer: Usage) -> UsageReport | None:
    """Return what a whole answer of a reranker reports, or None where it reports nothing.

    Jina, vLLM and Voyage have `usage` with a total, which is all input; Cohere has `meta.billed_units`, whose
    search units are units, and others in its shape `meta.tokens`.

    Raises:
        UsageMismatch: the report contradicts itself.
    """
    usage, meta = _object(answer, "usage"), _object(answer, "meta")
    tokens, billed = _object(meta, "tokens"), _object(meta, "billed_units")
    units = rounded_up("search_units", billed["search_units"]) if billed.get("search_units") else 0
    if usage.get("total_tokens") or usage.get("prompt_tokens"):
        return openai_embeddings(usage)._replace(units=units)
    pools = TokenPools(input=_count(tokens, "input_tokens"), output=_count(tokens, "output_tokens"))
    return UsageReport(pools, units=units) if units or any(pools) else None


def anthropic(usage: Usage) -> UsageReport:
    """Return the pools of an Anthropic report, whose `input_tokens` exclude both cache pools.

    The split of the written tokens by lifetime may be null, or leave some unsaid: these were written for the
    unspecified time, five minutes. Thinking is a slice of `output_tokens`.

    Raises:
        UsageMismatch: the split is larger than `cache_creation_input_tokens`, the thinking larger than
            `output_tokens`, or a figure is malformed.
    """
    minutes = _count(usage, "cache_creation.ephemeral_5m_input_tokens")
    hour = _count(usage, "cache_creation.ephemeral_1h_input_tokens")
    whole = _figure(usage, "cache_creation_input_tokens")
    written = minutes + hour if whole is None else whole
    split = "cache_creation.ephemeral_5m_input_tokens", "cache_creation.ephemeral_1h_input_tokens"
    _within(split, minutes + hour, "cache_creation_input_tokens", written)
    output, thinking = (
        _required(usage, "output_tokens"),
        _count(usage, "output_tokens_details.thinking_tokens"),
    )
    _within(("output_tokens_details.thinking_tokens",), thinking, "output_tokens", output)
    pools = TokenPools(
        input=_required(usage, "input_tokens"),
        cache_read=_count(usage, "cache_read_input_tokens"),
        cache_write=written - hour,
        cache_write_1h=hour,
        output=output,
    )
    return UsageReport(pools, thinking)


def gemini(usage: Usage) -> UsageReport:
    """Return the pools of Gemini's native `usageMetadata`, which leaves out figures that are zero.

    Cached content is a slice of the prompt; thoughts and the prompts of tools are counted beside it.

    Raises:
        UsageMismatch: more was cached than given, or the total is not the sum.
    """
    prompt, tools = _count(usage, "promptTokenCount"), _count(usage, "toolUsePromptTokenCount")
    answer, thoughts = _count(usage, "candidatesTokenCount"), _count(usage, "thoughtsTokenCount")
    cached = _count(usage, "cachedContentTokenCount")
    _within(("cachedContentTokenCount",), cached, "promptTokenCount", prompt)
    parts = "promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"
    _add_up(parts, prompt + tools + answer + thoughts, "totalTokenCount", usage)
    return UsageReport(TokenPools(prompt - cached + tools, cached, output=answer + thoughts), thoughts)


class _Names(NamedTuple):
    """How a dialect calls its figures; a dot leads into a detail. Spellings of `read` must agree."""

    whole: str
    read: tuple[str, ...]
    written: str
    output: str
    reasoning: str


_CHAT = _Names(
    whole="prompt_tokens",
    read=("prompt_tokens_details.cached_tokens",),
    written="prompt_tokens_details.cache_write_tokens",
    output="completion_tokens",
    reasoning="completion_tokens_details.reasoning_tokens",
)
_RESPONSES = _Names(
    whole="input_tokens",
    read=("input_tokens_details.cached_tokens",),
    written="input_tokens_details.cache_write_tokens",
    output="output_tokens",
    reasoning="output_tokens_details.reasoning_tokens",
)


def _sliced(usage: Usage, names: _Names) -> UsageReport:
    """Return the pools of a dialect whose cached tokens are slices of its input figure."""
    whole = _required(usage, names.whole)
    read, written = _same(usage, names.read), _count(usage, names.written)
    _within((names.read[0], names.written), read + written, names.whole, whole)
    output, reasoning = _output(usage, names, whole)
    return UsageReport(TokenPools(whole - read - written, read, written, output=output), reasoning)


def _output(usage: Usage, names: _Names, whole: int) -> tuple[int, int]:
    """Return all output, and the reasoning in it, wherever the total says that reasoning was counted."""
    output, reasoning = _required(usage, names.output), _count(usage, names.reasoning)
    if reasoning and _count(usage, "total_tokens") == whole + output + reasoning:
        return output + reasoning, reasoning
    _add_up((names.whole, names.output), whole + output, "total_tokens", usage)
    _within((names.reasoning,), reasoning, names.output, output)
    return output, reasoning


def _prompt_dialect(usage: Usage) -> Callable[[Usage], UsageReport]:
    if usage.get("prompt_cache_miss_tokens") is not None:
        return deepseek
    if _figure(usage, "prompt_tokens_details.cache_creation_input_tokens") is not None:
        return qwen
    return moonshot if "cached_tokens" in usage else openai_chat


def _within(parts: Sequence[str], parts_count: int, whole: str, whole_count: int) -> None:
    if parts_count > whole_count:
        raise UsageMismatch(f"{' + '.join(parts)} is {parts_count} but {whole} is {whole_count}")


def _add_up(parts: Sequence[str], parts_count: int, total: str, usage: Usage) -> None:
    """Refuse a total that is not the sum. A total of 0 is how some servers leave it out."""
    total_count = _count(usage, total)
    if total_count not in (0, parts_count):
        raise UsageMismatch(f"{total} is {total_count} but {' + '.join(parts)} is {parts_count}")


def _same(usage: Usage, fields: Sequence[str]) -> int:
    """Return the one number that all those of the fields say which say anything, else 0."""
    if len(fields) == 1:
        return _count(usage, fields[0])
    said = {field: number for field in fields if (number := _figure(usage, field)) is not None}
    if len(set(said.values())) > 1:
        raise UsageMismatch(" but ".join(f"{field} is {number}" for field, number in said.items()))
    return next(iter(said.values()), 0)


def _required(usage: Usage, field: str) -> int:
    number = _figure(usage, field)
    if number is None:
        raise UsageMismatch(f"{field} is missing")
    return number


def _count(usage: Usage, field: str) -> int:
    return _figure(usage, field) or 0


def _figure(usage: Usage, field: str) -> int | None:
    """Return a figure at the top or one level down, None where it is absent or null."""
    detail, name = _place(field)
    number = (_object(usage, detail) if detail else usage).get(name)
    return None if number is None else count(field, number)


@cache
def _place(field: str) -> tuple[str, str]:
    """Return the detail that a figure is in, or "", and its name there. Fields are of this module's making."""
    detail, _, name = field.rpartition(".")
    return detail, name


def _object(usage: Usage, field: str) -> Usage:
    """Return the object there, an empty one where it is absent or null."""
    holder = usage.get(field)
    if holder is None:
        return _NOTHING
    if not isinstance(holder, Mapping):
        raise UsageMismatch(f"{field} is {holder!r:.40}, not an object")
    return holder


def rounded_up(field: str, number: object) -> int:
    """Return a measure that need not be whole, such as seconds, as a count.

    Raises:
        UsageMismatch: naming the field and what stands there, if it is no number or out of a count's bounds.
    """
    if isinstance(number, bool) or not isinstance(number, Real):
        raise UsageMismatch(f"{field} is {number!r:.40}, not a number")
    return count(field, ceil(number))


def count(field: str, number: object) -> int:
    """Return the number if it is a count: an integer, no bool, from 0 to `MAX_COUNT`.

    Raises:
        UsageMismatch: naming the field and what stands there.
    """
    if type(number) is not int:
        raise UsageMismatch(f"{field} is {number!r:.40}, not an integer")
    if not 0 <= number <= MAX_COUNT:
        raise UsageMismatch(f"{field} is {number}, not between 0 and {MAX_COUNT}")
    return number
