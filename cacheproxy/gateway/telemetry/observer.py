"""What is told of a call when it is over: to the metrics, to the log if that is wanted, and to its trace."""

import logging

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.recording.kept_requests import KeptRequests
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.telemetry.tally import Tally
from metering.usage_event import UsageEvent

calls = logging.getLogger("cacheproxy.gateway.calls")


class Observer:
    """Looks at every metered call once, after its last byte."""

    def __init__(
        self, metrics: Metrics, tally: Tally, kept_requests: KeptRequests, *, log_calls: bool
    ) -> None:
        self._metrics = metrics
        self._tally = tally
        self._kept_requests = kept_requests
        self._log_calls = log_calls

    def over(self, call: Call) -> None:
        """Tell of *call*. It never waits and holds nothing of the call."""
        metrics, ask, event, elapsed_us = self._metrics, call.ask, call.event, call.elapsed_us()
        model = ask.facts.model.name if ask is not None else ""
        outcome = event.outcome if event is not None else call.ending
        metrics.call_ended(call.route.dialect.surface, model, outcome, call.status, elapsed_us)
        if event is not None:
            self._count(call, event)
        if event is not None and event.upstream_latency_us is not None:
            metrics.added(max(0, elapsed_us - event.upstream_latency_us))
            if call.streamed_after_us is not None:
                metrics.first_token(call.streamed_after_us)
        if call.gone:
            metrics.client_hung_up()
        if self._log_calls:
            _log(call, model, outcome, elapsed_us)
        if call.trace is not None:
            call.trace.end(model, outcome)

    def _count(self, call: Call, event: UsageEvent) -> None:
        found, ask = call.found, call.ask
        if ask is not None and ask.caller.access.keep_content:
            self._kept_requests.note(call, ask)
        if found is not None:
            stored, tier = found.stored, found.tier if found.how == "exact" else found.how
            age_ms = call.now_ms - stored.stored_at_ms
            if stored.paid_by:  # in a pool nobody is told of when
                tier, age_ms = found.tier if found.because == "stale-while-revalidate" else tier, 0
            self._tally.hit(event.tenant_id, event.model, tier, len(stored.body), age_ms)
        elif event.outcome == "coalesced":  # a stream, passed on as it came
            self._tally.hit(event.tenant_id, event.model, "coalesced", 0, 0)
        elif call.absence is not None:
            self._tally.missed(event.tenant_id, event.model, call.absence)
        else:
            self._tally.hit(event.tenant_id, event.model, "batch", 0, 0)


def _log(call: Call, model: str, outcome: str, elapsed_us: int) -> None:
    access = call.ask.caller.access if call.ask is not None else None
    facts = {
        "key": access.public_id if access is not None else None,
        "model": model,
        "surface": call.route.dialect.surface,
        "outcome": outcome,
        "status": call.status,
        "latency_us": elapsed_us,
    }
    calls.info("%s %s: %d %s", call.route.dialect.surface, model or "-", call.status, outcome, extra=facts)
