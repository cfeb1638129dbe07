"""Reports that count something else than tokens, or beside them."""

from typing import Any

import pytest

from metering.provider_usage import UsageMismatch, UsageReport, rerank, rounded_up, transcription
from metering.tokens import MAX_COUNT, TokenPools


@pytest.mark.parametrize(
    ("number", "units"), [(0, 0), (8, 8), (8.0, 8), (8.01, 9), (0.001, 1), (MAX_COUNT, MAX_COUNT)]
)
def test_a_begun_unit_counts(number: Any, units: int) -> None:
    assert rounded_up("seconds", number) == units
    assert transcription({"type": "duration", "seconds": number}) == UsageReport(units=units)


@pytest.mark.parametrize("number", [None, "8", True, -1, -0.5 - 1, MAX_COUNT + 0.5, 1e300])
def test_what_is_no_measure(number: Any) -> None:
    with pytest.raises(UsageMismatch, match="seconds is"):
        rounded_up("seconds", number)


def test_sound_by_the_token() -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
    assert transcription(usage) == UsageReport(TokenPools(input=14, output=45))
    with pytest.raises(UsageMismatch, match="total_tokens is 60"):
        transcription(usage | {"total_tokens": 60})


def test_search_units_stand_beside_tokens() -> None:
    answer = {"usage": {"total_tokens": 9}, "meta": {"billed_units": {"search_units": 1}}}
    assert rerank(answer) == UsageReport(TokenPools(input=9), units=1)


@pytest.mark.parametrize("answer", [{}, {"usage": None, "meta": None}, {"meta": {"billed_units": {}}}])
def test_a_reranker_that_reports_nothing(answer: Any) -> None:
    assert rerank(answer) is None
