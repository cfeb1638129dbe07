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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from uuid import UUID

import psycopg

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import DatabaseAway, describe
from cacheproxy.gateway.errors import EventConflict, GatewayError, InternalError, RecorderUnavailable
from cacheproxy.gateway.recording.ledger import Ledger, Overdue, Verdict
from cacheproxy.gateway.recording.spool import Spool, SpoolAway
from cacheproxy.gateway.tasks import conclude, end
from cacheproxy.gateway.telemetry.metrics import Metrics
from metering.usage_event import UsageEvent

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.001
"""How often it is seen, when the gateway ends, whether the last batch is written."""
LOOK_EVENTS = 8
"""After so many events it is seen whether the batch under way has ended: PostgreSQL shall not stand idle meanwhile."""

Settle = Callable[[GatewayError | None], None]
"""Called once an event is durable (with None), or is not; it never raises, and does not wait."""
Waiting = tuple[UsageEvent, Settle]


class Recorder:
    """One per gateway process. ``record`` hands an event over.

    The usual batch needs no task: its end begins the next one. What goes wrong is set right in a task.
    """

    def __init__(
        self, settings: GatewaySettings, spool: Spool[UsageEvent] | None, metrics: Metrics | None = None
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._metrics = metrics or Metrics()
        self._metrics.read("recorder_waiting_events", lambda: len(self._waiting))
        self._ledger = Ledger(settings)
        self._drainer = Ledger(settings)
        self._waiting: list[Waiting] = []
        self._busy = False
        """Whether a batch is being written, or about to."""
        self._settling: asyncio.Task[None] | None = None
        self._away = False
        self._context = copy_context()

    async def start(self) -> None:
        """Begin to write, in this event loop. Without PostgreSQL it begins all the same, with the spool."""
        self._loop = asyncio.get_running_loop()
        self._soon = partial(self._loop.call_soon, context=self._context)  # no call's: batches outlive calls
        try:
            await self._ledger.connect()
        except DatabaseAway as failure:
            self._went_away(failure)
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Write what still waits, then let go of the connections."""
        while self._busy:  # noqa: ASYNC110 - at the very end, so that no call has to tell
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(0)  # for those who are told of the last batch
        await end(self._watching)
        await self._ledger.close()
        await self._drainer.close()

    def record(self, event: UsageEvent) -> Awaitable[None]:
        """Hand *event* over; what is returned ends when the event is durable, or raises why it is not.

        Raises:
            RecorderUnavailable: too many events wait, or (when awaited) neither PostgreSQL nor the spool took it.
            EventConflict: (when awaited) the id is recorded with other content.
        """
        recorded: asyncio.Future[None] = self._loop.create_future()
        self.record_then(event, partial(conclude, recorded))
        return recorded

    def record_then(self, event: UsageEvent, settle: Settle) -> None:
        """Hand *event* over; *settle* is told when it is durable, or why it is not.

        Raises:
            RecorderUnavailable: too many events wait.
        """
        if len(self._waiting) >= self._settings.max_waiting_events:
            raise RecorderUnavailable
        self._waiting.append((event, settle))
        if not self._busy:
            self._busy = True
            self._soon(self._go_on)  # what comes in this turn of the event loop shares a batch
        elif len(self._waiting) % LOOK_EVENTS == 0:
            self._ledger.look()  # this turn of the event loop may be long

    @property
    def database_away(self) -> bool:
        """Whether events go to the spool at the moment."""
        return self._away

    def _go_on(self) -> None:
        """Write what waits, as one batch: at once where all is well, in a task otherwise."""
        batch = self._waiting[: self._settings.max_batch_events]
        if not batch:
            self._busy = False
            return
        del self._waiting[: len(batch)]
        if self._away or not self._ledger.is_open:
            self._settling = asyncio.create_task(self._settle(batch))
        else:
            written = partial(self._written, batch, time.perf_counter_ns())
            self._ledger.begin([event for event, _ in batch], written)

    def _written(self, batch: Sequence[Waiting], started_ns: int, failure: psycopg.Error | None) -> None:
        if failure is None:
            self._metrics.batch_committed(len(batch), (time.perf_counter_ns() - started_ns) // 1000)
            self._soon(_tell_all, batch, {})  # so that the next batch is on its way before
            if len(self._waiting) < LOOK_EVENTS:
                self._soon(self._go_on)  # a turn of the event loop, and more may share
            else:
                self._go_on()
            return
        if isinstance(failure, Overdue):
            self._went_away(DatabaseAway(describe(failure)))
        self._settling = asyncio.create_task(self._settle(batch))

    async def _settle(self, batch: Sequence[Waiting]) -> None:
        """Make *batch* durable, tell its calls, each its own verdict, and go on.

        It never raises, whatever happens: the calls would hang.
        """
        events = [event for event, _ in batch]
        try:
            _tell_all(batch, await self._make_durable(events))
        except (DatabaseAway, SpoolAway) as failure:
            logger.error(  # noqa: TRY400 - no news in the traceback
                "Withheld %d answers, PostgreSQL and the spool are away (%s): %s",
                len(batch),
                failure,
                _ids(events),
            )
            self._metrics.batch_withheld(len(batch))
            _refuse_all(batch, RecorderUnavailable)
        except Exception:  # a bug of ours must fail these calls, not the recorder
            logger.exception("Withheld %d answers: %s", len(batch), _ids(events))
            _refuse_all(batch, InternalError)
        self._go_on()

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


def _tell_all(batch: Sequence[Waiting], verdicts: Mapping[UUID, Verdict]) -> None:
    for event, settle in batch:
        verdict = verdicts.get(event.event_id)
        if verdict is None:
            settle(None)
        else:
            settle(EventConflict() if verdict is Verdict.CONFLICTED else InternalError())


def _refuse_all(batch: Sequence[Waiting], problem: type[RecorderUnavailable | InternalError]) -> None:
    for _, settle in batch:
        settle(problem())


def _ids(events: Sequence[UsageEvent]) -> str:
    return ", ".join(str(event.event_id) for event in events)
