"""What limits and budgets refuse. The tree is drawn in `cacheproxy.gateway.errors`, which they belong to."""

from collections.abc import Sequence

from cacheproxy.gateway.errors import BadRequest, GatewayError


class MaxTokensExceeded(BadRequest):
    """More output is asked for than the plan or the key allows."""

    def __init__(self, asked: int, limit: int) -> None:
        super().__init__(
            f"{asked:,} tokens of output are asked for; {limit:,} is the most that one call may. Ask for less.",
            code="max_tokens_exceeded",
        )


class BudgetExceeded(GatewayError):
    """The call might cost more than a budget has left."""

    status = 402
    code = "budget_exceeded"

    def __init__(self, period: str) -> None:
        super().__init__(
            f"The budget of this {period} does not allow this call. Raise it, or wait for the {period} to end (UTC)."
        )


class RateLimited(GatewayError):
    """A rate is used up; waiting helps, unless the call alone is too large for it."""

    status = 429
    code = "rate_limit_exceeded"

    def __init__(
        self, message: str, headers: Sequence[tuple[bytes, bytes]] = (), retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.headers = headers
        self.retryable = retry_after_ms is not None
        if retry_after_ms is not None:
            self.headers = [*headers, (b"retry-after-ms", b"%d" % retry_after_ms)]
            self.retry_after_seconds = -(-retry_after_ms // 1000)


class TooManyConcurrent(RateLimited):
    """As many calls are under way at once as the plan or the key allows."""

    def __init__(self, at_once: int, holder: str, retry_after_ms: int) -> None:
        super().__init__(
            f"{at_once:,} calls are under way, the most at once of {holder}. Try again when one has ended.",
            retry_after_ms=retry_after_ms,
        )


REFUSALS = (MaxTokensExceeded, BudgetExceeded, RateLimited)
"""What one caller is refused, and another with the same question may be let do."""
