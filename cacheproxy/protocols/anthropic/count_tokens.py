"""Counting a message's tokens before it is sent: an answer that costs nothing."""

from collections.abc import Mapping
from typing import Any

from cacheproxy.protocols.anthropic.fields import AnthropicDialect
from cacheproxy.protocols.request import Dialect, InferenceRequest
from metering.provider_usage import UsageReport


class CountTokensDialect(AnthropicDialect):
    """Anthropic's token counter. Nothing is computed, so nothing is metered, whatever the model's rule says."""

    surface = "messages.count_tokens"
    path = "/v1/messages/count_tokens"

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether there is a count."""
        return isinstance(answer, dict) and type(answer.get("input_tokens")) is int

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport:
        """Return no tokens."""
        return UsageReport()

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return no tokens."""
        return UsageReport()


DIALECT: Dialect = CountTokensDialect()
