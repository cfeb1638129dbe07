"""What holds of every batch, whatever its surface."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cacheproxy.protocols.request import Batch, InferenceRequest
from metering.provider_usage import UsageReport

Serve = Callable[[InferenceRequest], Any]
Usage = Callable[[InferenceRequest, Any], UsageReport | None]


def check(batch: Batch, request: InferenceRequest, serve: Serve, usage: Usage, cached: Sequence[int]) -> None:
    """Items that the cache has and items that are asked for make the answer that the whole would have had."""
    everything = range(len(batch.items))
    missing = [place for place in everything if place not in set(cached)]
    parts: dict[int, bytes] = {}
    used = []
    for places in (cached, missing):
        if places:
            answer = serve(batch.asking(places))
            parts |= zip(places, batch.split(places, answer), strict=True)
            used.append(usage(batch.asking(places), answer) or UsageReport())
            assert len(batch.weights(places)) == len(places)
            assert min(batch.weights(places)) >= 1
    total = UsageReport(
        type(used[0].pools)(*map(sum, zip(*(report.pools for report in used), strict=True))),
        units=sum(report.units for report in used),
    )
    joined = batch.join([parts[place] for place in everything], total)
    assert msgspec.json.decode(joined) == serve(request)
