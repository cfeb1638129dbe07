"""The `predict` protocol: any JSON in, any JSON out (LitServe, Paddle Serving). The model stands in the path.

Nothing in the document is ours: every field decides the answer but those that the model's policy calls
volatile. Usage is the answer's `usage` object by default: `input_tokens` and `output_tokens`, either of which
may be missing for none, or any shape that `metering.provider_usage.report` knows, such as OpenAI's or
Anthropic's. A metering rule takes its place. Errors have OpenAI's shape, for predict servers share none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cacheproxy.protocols import document, estimate
from cacheproxy.protocols.metering_rule import apply_rules
from cacheproxy.protocols.openai.errors import openai_error
from cacheproxy.protocols.request import (
    Dialect,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    JsonDialect,
    UpstreamCall,
)
from cacheproxy.protocols.sse import frame
from metering import provider_usage
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools

_PAIRS = (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens"))
_FAILURES = (
    "error",
    "err_no",
    "errorCode",
)  # the last two are Paddle's, which answers failures with 200 and a number


class PredictDialect(JsonDialect):
    """Any JSON document, unstreamed."""

    protocol = "predict"
    surface = "predict"

    def parse(self, incoming: Incoming) -> InferenceRequest:
        """Return the document, whatever it is. The model is in the path."""
        if not incoming.model:
            raise InvalidRequest("The path names no model.", code="missing_field", param="model")
        return InferenceRequest(model=incoming.model, document=document.read(incoming.body))

    def canonical(self, request: InferenceRequest, volatile_fields: Sequence[str]) -> bytes:
        """Return the sorted JSON of the document without its volatile fields."""
        return document.canonical(document.without(request.document, volatile_fields))

    def upstream_call(self, request: InferenceRequest, upstream_model: str) -> UpstreamCall:
        """Return the document for the upstream's own url."""
        return UpstreamCall("", document.write(request.document))

    def is_answer(self, request: InferenceRequest, answer: Any) -> bool:
        """Return whether the answer names no failure."""
        return not (isinstance(answer, dict) and any(answer.get(field) for field in _FAILURES))

    def usage(
        self, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
    ) -> UsageReport | None:
        """Return what the metering rule says, else the answer's `usage`, else None."""
        if metering:
            return apply_rules(metering, request=request.document, answer=answer, body_size=body_size)
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if not isinstance(usage, dict):
            return None
        for pair in _PAIRS:
            if any(field in usage for field in pair):
                usage = dict.fromkeys(pair, 0) | usage
        return provider_usage.report(usage) if any(pair[0] in usage for pair in _PAIRS) else None

    def estimate(self, request: InferenceRequest, answer: Any) -> UsageReport:
        """Return bytes of JSON / 4, rounded up: what is text in a document of any shape, nobody knows."""
        sizes = (len(document.write(value)) for value in (request.document, answer))
        given, output = map(estimate.rounded_up, sizes)
        return UsageReport(TokenPools(input=given, output=output))

    def error(self, *, status: int, code: str, message: str, param: str | None) -> bytes:
        """Return an error body in OpenAI's shape."""
        return openai_error(status=status, code=code, message=message, param=param)

    def stream_error(self, *, status: int, code: str, message: str) -> bytes:
        """Return the error as an event."""
        return frame(self.error(status=status, code=code, message=message, param=None))


DIALECT: Dialect = PredictDialect()
