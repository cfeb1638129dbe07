"""What a model's server may do instead of answering, and how the client is told.

::

    UpstreamError                 502
    ├── UpstreamNotConfigured             upstream_not_configured
    ├── UpstreamUnreachable               upstream_unreachable
    ├── UpstreamLost                      upstream_unreachable
    ├── UpstreamBroken                    upstream_broken
    ├── UpstreamUnavailable   503         upstream_unavailable
    └── UpstreamTimeout       504         upstream_timeout

None of them names the server: whose it is, is the operator's affair. The log does.
"""

import math
from typing import ClassVar, Literal

from cacheproxy.gateway.errors import GatewayError


class UpstreamError(GatewayError):
    """The model's server did not answer as it should."""

    status = 502
    retryable = True
    untouched: ClassVar[bool] = False
    """Whether it is certain that no upstream has worked on the call."""


class UpstreamNotConfigured(UpstreamError):
    """The operator named a secret for the model's server that is not set. The log names it, the answer does not."""

    code = "upstream_not_configured"
    retryable = False

    def __init__(self) -> None:
        super().__init__(
            "This model is not fully configured yet. Report the x-request-id to the operator of this service."
        )


class UpstreamUnreachable(UpstreamError):
    """No connection was made, in time or at all."""

    code = "upstream_unreachable"
    untouched = True

    def __init__(self, timeout_seconds: float | None = None) -> None:
        late = "cannot be reached at the moment"
        if timeout_seconds is not None:
            late = f"did not accept a connection within {timeout_seconds:g} seconds"
        super().__init__(f"The server of this model {late}. Try again later.")


class UpstreamLost(UpstreamError):
    """The connection was lost before the answer began. Whether the call was worked on, nobody knows."""

    code = "upstream_unreachable"

    def __init__(self) -> None:
        super().__init__(
            "The connection to the server of this model was lost before it answered. Nothing was charged; try again."
        )


class UpstreamBroken(UpstreamError):
    """The answer is not what the protocol promises: not JSON, cut short, too large, a redirect."""

    code = "upstream_broken"

    def __init__(self) -> None:
        super().__init__("The server of this model gave a broken answer. Nothing was charged; try again.")


class UpstreamTimeout(UpstreamError):
    """No answer, or none to its end, within one of the upstream's time limits."""

    status = 504
    code = "upstream_timeout"
    _SAYING: ClassVar = {
        "first_byte": "did not begin to answer within {:g} seconds. Try again later.",
        "idle": "stopped in the middle of its answer for {:g} seconds. Try again.",
        "total": "did not answer within {:g} seconds. Ask for less, or try again.",
    }

    def __init__(self, limit: Literal["first_byte", "idle", "total"], timeout_seconds: float) -> None:
        super().__init__("The server of this model " + self._SAYING[limit].format(timeout_seconds))
        self.limit = limit


class UpstreamUnavailable(UpstreamError):
    """Every upstream of the model failed so often of late that it is left alone for a while."""

    status = 503
    code = "upstream_unavailable"
    untouched = True

    def __init__(self, wait_seconds: float) -> None:
        self.retry_after_seconds = max(1, math.ceil(wait_seconds))
        super().__init__(
            f"No server of this model is well at the moment. Try again in {self.retry_after_seconds} seconds."
        )
