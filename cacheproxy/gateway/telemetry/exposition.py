"""The numbers of all gateway processes in Prometheus' text format, and the pulse that keeps them fresh."""

import asyncio
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cacheproxy.gateway.tasks import end
from cacheproxy.gateway.telemetry.metrics import FAMILIES, Family, Metrics, Snapshot, Value
from cacheproxy.gateway.telemetry.snapshots import SnapshotFolder, add_up

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
PULSE_SECONDS = 0.25
PULSES_PER_WRITE = 4
PREFIX = "zerorate_"


class Exposition:
    """Answers scrapes. Without a folder it speaks for this process alone."""

    def __init__(self, metrics: Metrics, folder: str | None) -> None:
        self._metrics = metrics
        self._path = Path(folder) if folder else None
        self._folder: SnapshotFolder | None = None
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._process = psutil.Process()
        metrics.read("process_resident_memory_bytes", lambda: self._process.memory_info().rss)
        metrics.read("process_open_fds", self._process.num_fds)

    async def start(self) -> None:
        """Join the other processes, and begin to measure the event loop."""
        if self._path is not None:
            self._folder = await asyncio.to_thread(SnapshotFolder, self._path)
        self._task = asyncio.create_task(self._pulse())

    async def stop(self) -> None:
        """Leave the numbers behind for the others."""
        if self._task is not None:
            await end(self._task)
        if self._folder is not None:
            await self._write(self._folder)
            self._folder.close()

    async def text(self) -> bytes:
        """Return what a scrape is told: of this process as it is now, of the others as of a second ago."""
        if self._folder is None:
            return render(add_up([self._snapshot()]))
        await self._write(self._folder)
        return render(add_up(await asyncio.to_thread(self._folder.read)))

    async def _pulse(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(PULSES_PER_WRITE):
                due = loop.time() + PULSE_SECONDS
                await asyncio.sleep(PULSE_SECONDS)
                self._metrics.loop_lagged(max(0, int((loop.time() - due) * 1_000_000)))
            if self._folder is not None:
                try:
                    await self._write(self._folder)
                except OSError as failure:  # a full disk ends no pulse
                    logger.warning("The metrics cannot be written to %s: %s", self._path, failure)

    async def _write(self, folder: SnapshotFolder) -> None:
        async with self._turn:  # an older snapshot must not replace a newer one
            await asyncio.to_thread(folder.write, self._snapshot())

    def _snapshot(self) -> Snapshot:
        return self._metrics.snapshot(os.getpid())


class _Numbers(Collector):
    def __init__(self, total: Snapshot) -> None:
        self._total = total

    def collect(self) -> Iterable[Metric]:
        for name, family in FAMILIES.items():
            yield _metric(PREFIX + name, family, self._total.families.get(name, []))


def render(total: Snapshot) -> bytes:
    """Return added-up numbers as text. Every family is there, also those without a number yet."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(total))
    return generate_latest(registry)


def _metric(name: str, family: Family, series: Iterable[tuple[tuple[str, ...], Value]]) -> Metric:
    if family.kind == "histogram":
        return _histogram(name, family, series)
    labels = (*family.labels, "pid") if family.kind == "gauge" else family.labels
    kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
    metric = kind(name, family.help, labels=labels)
    for values, number in series:
        assert isinstance(number, int)
        metric.add_metric(values, number / family.per_unit if family.per_unit > 1 else number)
    return metric


def _histogram(name: str, family: Family, series: Iterable[tuple[tuple[str, ...], Value]]) -> Metric:
    metric = HistogramMetricFamily(name, family.help, labels=family.labels)
    for values, numbers in series:
        assert isinstance(numbers, list)
        *counts, total = numbers
        metric.add_metric(values, _cumulated(family, counts), sum_value=total / family.per_unit)
    return metric


def _cumulated(family: Family, counts: list[int]) -> list[tuple[str, float]]:
    bounds = [repr(bound / family.per_unit) for bound in family.bounds]
    so_far, buckets = 0, []
    for bound, count in zip([*bounds, "+Inf"], counts, strict=True):
        so_far += count
        buckets.append((bound, float(so_far)))
    return buckets
