"""OpenTelemetry: one span for each call, children for the look-up, each upstream that was asked, and the commit.

Names and attributes follow the semantic conventions for generative AI; of contents there are none. The caller's
``traceparent`` is taken up and the upstream gets ours. Only imported where traces are wanted: without them a call
has no `CallTrace`, and each place that would add to one tests for that.
"""

from collections.abc import Awaitable
from typing import TypeVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.catalog.catalog import Target

Value = TypeVar("Value")

OPERATIONS = {
    "chat.completions": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "messages": "chat",
    "responses": "chat",
}
"""Surface → gen_ai.operation.name; a surface without one stands for itself."""
_propagator = TraceContextTextMapPropagator()


class Tracing:
    """The traces of one gateway process. The exporter reads its settings (``OTEL_…``) from the environment."""

    def __init__(self) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "zerorate"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("zerorate.gateway")

    def begin(self, call: Call) -> None:
        """Begin *call*'s span, under its caller's if it has one."""
        call.trace = CallTrace(self._tracer, call)

    def close(self) -> None:
        """Send what is left. It waits for the collector: keep it off the event loop."""
        self._provider.shutdown()


class CallTrace:
    """The span of one call."""

    def __init__(self, tracer: Tracer, call: Call) -> None:
        carrier = {
            name: call.headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in call.headers
        }
        self._call = call
        self._tracer = tracer
        self._span = tracer.start_span(
            call.route.dialect.surface, _propagator.extract(carrier, Context()), SpanKind.SERVER
        )
        self._inside = set_span_in_context(self._span, Context())

    def end(self, model: str, outcome: str) -> None:
        """End the span with what the call came to."""
        call, span = self._call, self._span
        operation = OPERATIONS.get(call.route.dialect.surface, call.route.dialect.surface)
        span.update_name(f"{operation} {model}".strip())
        span.set_attributes(
            {
                "gen_ai.operation.name": operation,
                "gen_ai.request.model": model,
                "http.request.method": "POST",
                "http.response.status_code": call.status,
                "url.path": call.path,
                "zerorate.outcome": outcome,
                "zerorate.request_id": str(call.event_id),
            }
        )
        if call.ask is not None:
            span.set_attribute("zerorate.tenant", call.ask.caller.access.tenant_slug)
        if call.event is not None:
            pools = call.event.pools
            span.set_attribute("gen_ai.usage.input_tokens", sum(pools) - pools.output)
            span.set_attribute("gen_ai.usage.output_tokens", pools.output)
        _mark(span, call.status)
        span.end()

    async def timed(self, name: str, awaited: Awaitable[Value]) -> Value:
        """Wait for *awaited* inside a child span."""
        span = self._tracer.start_span(name, self._inside)
        try:
            return await awaited
        finally:
            span.end()

    def upstream(self, target: Target) -> "UpstreamTrace":
        """Begin the child span of one call to *target*."""
        span = self._tracer.start_span(f"POST {target.upstream}", self._inside, SpanKind.CLIENT)
        span.set_attributes(
            {
                "gen_ai.provider.name": target.protocol,
                "gen_ai.request.model": target.upstream_model,
                "zerorate.upstream": target.upstream,
            }
        )
        return UpstreamTrace(span)


class UpstreamTrace:
    """The span of one call to one upstream."""

    def __init__(self, span: Span) -> None:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, set_span_in_context(span, Context()))
        self.headers = [(name.encode(), value.encode()) for name, value in carrier.items()]
        """What tells the upstream of the span."""
        self._span = span

    def end(self, status: int) -> None:
        """End the span with the status of the upstream's answer; 0 where none came."""
        if status:
            self._span.set_attribute("http.response.status_code", status)
        _mark(self._span, status)
        self._span.end()


def _mark(span: Span, status: int) -> None:
    if not 0 < status < 500:
        span.set_status(Status(StatusCode.ERROR))
        span.set_attribute("error.type", str(status) if status else "no_answer")
