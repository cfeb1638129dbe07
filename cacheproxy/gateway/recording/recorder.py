"""The recorder: a call is answered when its usage event is durable, not before (laws L1 and L2).

Group commit: whatever events wait are written as one batch, one transaction; their calls go on together; what
came meanwhile is the next batch. Under load batches grow by themselves, and a lone call waits for nobody.

While PostgreSQL is away, batches go to the spool; a watch tries PostgreSQL again, and drains the spool, every
``retry_seconds``. With the spool away too, calls are refused: an answer that cannot be recorded is not given.
A commit whose acknowledgement was lost is spooled under the same ids, which PostgreSQL then knows already.
With the spool away as well such a call is refused although it may have been recorded: the one case in which
an event can outlive a refusal, and the reason is logged with its ids.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from uuid import UUID

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import DatabaseAway
from cacheproxy.gateway.errors import EventConflict, InternalError, RecorderUnavailable
from cacheproxy.gateway.recording.ledger import Ledger, Verdict
from cacheproxy.gateway.recording.spool import Spool, SpoolAway
from cacheproxy.gateway.tasks import end
from cacheproxy.gateway.telemetry.metrics import Metrics
from metering.usage_event import UsageEvent

logger = logging.getLogger(__name__)

Waiting = tuple[UsageEvent, asyncio.Future[None]]


class Recorder:
    """One per gateway process. ``record`` hands an event over; the rest happens in two tasks."""

    def __init__(
        self, settings: GatewaySettings, spool: Spool | None, metrics: Metrics | None = None
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._metrics = metrics or Metrics()
        self._metrics.read("recorder_waiting_events", lambda: len(self._waiting))
        self._ledger = Ledger(settings)
        self._drainer = Ledger(settings)
        self._waiting: list[Waiting] = []
        self._wake = asyncio.Event()
        self._away = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to write, in this event loop. Without PostgreSQL it begins all the same, with the spool."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._ledger.connect()
        except DatabaseAway as failure:
            self._went_away(failure)
        self._tasks = [asyncio.create_task(self._write_batches()), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        """Write what still waits, then let go of the connections."""
        await asyncio.gather(*(recorded for _, recorded in self._waiting), return_exceptions=True)
        for task in self._tasks:
            await end(task)
        await self._ledger.close()
        await self._drainer.close()

    def record(self, event: UsageEvent) -> Awaitable[None]:
        """Hand *event* over; what is returned ends when the event is durable, or raises why it is not.

        Raises:
            RecorderUnavailable: too many events wait, or (when awaited) neither PostgreSQL nor the spool took it.
            EventConflict: (when awaited) the id is recorded with other content.
        """
        if len(self._waiting) >= self._settings.max_waiting_events:
            raise RecorderUnavailable
        recorded = self._loop.create_future()
        self._waiting.append((event, recorded))
        self._wake.set()
        return recorded

    @property
    def database_away(self) -> bool:
        """Whether events go to the spool at the moment."""
        return self._away

    async def _write_batches(self) -> None:
        while True:
            await self._wake.wait()
            batch = self._waiting[: self._settings.max_batch_events]
            await self._settle(batch)
            del self._waiting[: len(batch)]
            if not self._waiting:
                self._wake.clear()

    async def _settle(self, batch: Sequence[Waiting]) -> None:
        """Make *batch* durable and let its calls go on, each with its own verdict.

        It never raises, whatever happens: the calls would hang.
        """
        events = [event for event, _ in batch]
        try:
            verdicts = await self._make_durable(events)
        except (DatabaseAway, SpoolAway) as failure:
            logger.error(  # noqa: TRY400 - no news in the traceback
                "Withheld %d answers, PostgreSQL and the spool are away (%s): %s",
                len(batch),
                failure,
                _ids(events),
            )
            self._metrics.batch_withheld(len(batch))
            _release(batch, RecorderUnavailable)
            return
        except Exception:  # a bug of ours must fail these calls, not the recorder
            logger.exception("Withheld %d answers: %s", len(batch), _ids(events))
            _release(batch, InternalError)
            return
        for event, recorded in batch:
            if not recorded.done():
                _conclude(recorded, verdicts.get(event.event_id))

    async def _make_durable(self, events: Sequence[UsageEvent]) -> Mapping[UUID, Verdict]:
        if not self._away:
            started_ns = time.perf_counter_ns()
            try:
                verdicts = await self._ledger.write(events)
            except DatabaseAway as failure:
                self._went_away(failure)
            else:
                self._metrics.batch_committed(len(events), (time.perf_counter_ns() - started_ns) // 1000)
                return verdicts
        if self._spool is None:
            raise SpoolAway("there is no Redis")
        await self._spool.append(events)
        self._metrics.batch_spooled(len(events))
        return {}

    def _went_away(self, failure: DatabaseAway) -> None:
        self._away = True
        logger.error(
            "PostgreSQL is away (%s); usage events wait in the spool. Check DATABASE_URL and the server.",
            failure,
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.retry_seconds)
            try:
                await self._recover()
            except DatabaseAway:
                await self._look_at_spool()
            except SpoolAway:
                continue
            except Exception:  # a bug of ours must not end the watch: the spool would fill for ever
                logger.exception("The spool could not be drained; trying again.")

    async def _look_at_spool(self) -> None:
        """Let the spool know how it is: while PostgreSQL is away, readiness hangs on it."""
        if self._spool is not None:
            with contextlib.suppress(SpoolAway):
                await self._spool.depth()

    async def _recover(self) -> None:
        if self._away:
            await self._drainer.connect()
            self._away = False
            logger.warning("PostgreSQL is back.")
        if self._spool is not None and (drained := await self._spool.drain(self._drainer.write)):
            logger.warning("Drained %d usage events from the spool.", drained)


def _conclude(recorded: asyncio.Future[None], verdict: Verdict | None) -> None:
    if verdict is None:
        recorded.set_result(None)
    else:
        recorded.set_exception(EventConflict() if verdict is Verdict.CONFLICTED else InternalError())


def _release(batch: Sequence[Waiting], problem: type[RecorderUnavailable | InternalError]) -> None:
    for _, recorded in batch:
        if not recorded.done():
            recorded.set_exception(problem())


def _ids(events: Sequence[UsageEvent]) -> str:
    return ", ".join(str(event.event_id) for event in events)
