"""L4: rebuilding a rollup from events gives the same rows, to the unit.

Writers commit late, abort and repeat themselves; roll-ups run in between, in chunks of any size, and are
killed in the middle of their transaction.
"""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from django.db import OperationalError, connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from metering.models import RollupProgress, UsageRollup
from metering.selectors import rollup_differences
from metering.services.rollups import rebuild, roll_up
from metering.usage_event import UsageEvent
from tests.conftest import CLEANED
from tests.factories.tenants import ApiKeyFactory
from tests.factories.usage import NOVEMBER_NOON, connect, record, usage_event

NOW = datetime(2026, 11, 11, tzinfo=UTC)
WRITERS = 3

EVENTS = st.fixed_dictionaries(
    {
        "occurred_at": st.integers(0, 7200).map(lambda seconds: NOVEMBER_NOON + timedelta(seconds=seconds)),
        "model": st.sampled_from(["qwen", "ocr"]),
        "outcome": st.sampled_from(["miss", "exact"]),
        "quality": st.sampled_from(["reported", "suspect"]),
        "input": st.integers(0, 10**6),
        "units": st.integers(0, 3),
    }
)


class RollingUp(RuleBasedStateMachine):
    """Several writers with transactions of their own, and a roll-up that comes whenever it likes."""

    database_url: str

    @initialize()
    def begin(self) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as cleaner:
            cleaner.execute("TRUNCATE metering_usagerollup, metering_rollupprogress")
            cleaner.execute(CLEANED)
        key = ApiKeyFactory.create()
        self.tenant_id, self.keys = key.tenant_id, [None, key.pk]
        self.writers = [connect(self.database_url) for _ in range(WRITERS)]
        self.written: list[list[UsageEvent]] = [[] for _ in self.writers]
        self.committed: dict[Any, UsageEvent] = {}

    @rule(
        writer=st.integers(0, WRITERS - 1),
        events=st.lists(EVENTS, min_size=1, max_size=4),
        key=st.integers(0, 1),
    )
    def write(self, writer: int, events: list[dict[str, Any]], key: int) -> None:
        made = [usage_event(self.tenant_id, api_key_id=self.keys[key], **event) for event in events]
        record(made, self.writers[writer].cursor())
        self.written[writer].extend(made)

    @rule(writer=st.integers(0, WRITERS - 1))
    def commit(self, writer: int) -> None:
        self.writers[writer].commit()
        self.committed |= {event.event_id: event for event in self.written[writer]}
        self.written[writer] = []

    @rule(writer=st.integers(0, WRITERS - 1))
    def abort(self, writer: int) -> None:
        self.writers[writer].rollback()
        self.written[writer] = []

    @rule(writer=st.integers(0, WRITERS - 1), which=st.integers(0, 1000))
    def repeat(self, writer: int, which: int) -> None:
        if self.committed:
            known = list(self.committed.values())
            record([known[which % len(known)]], self.writers[writer].cursor())

    @rule(chunk=st.integers(1, 5))
    def roll_up(self, chunk: int) -> None:
        roll_up(now=NOW, chunk_events=chunk)

    @rule()
    def kill_a_roll_up(self) -> None:
        """Stop it between its reading and its writing, and cut its connection there."""
        with psycopg.connect(self.database_url) as blocker:
            blocker.execute("LOCK TABLE metering_usagerollup IN SHARE MODE")
            victim = RollUpThread()
            victim.start()
            with psycopg.connect(self.database_url, autocommit=True) as killer:
                while victim.is_alive() and not terminate(killer, blocked_by=blocker.info.backend_pid):
                    victim.join(0.005)
            victim.join()

    @rule()
    def rebuild(self) -> None:
        rebuild(now=NOW)

    @invariant()
    def what_is_below_the_watermark_is_counted_once(self) -> None:
        assert rollup_differences(period=None) == []

    def teardown(self) -> None:
        if not hasattr(self, "writers"):
            return
        for writer, _ in enumerate(self.writers):
            self.commit(writer)
            self.writers[writer].close()
        roll_up(now=NOW)
        assert self.sums() == self.expected()
        rolled_up = rows()
        watermark = RollupProgress.objects.get().watermark
        rebuild(now=NOW)
        assert rows() == rolled_up
        assert RollupProgress.objects.get().watermark >= watermark

    def sums(self) -> dict[Any, tuple[int, int, int]]:
        fields = ("api_key_id", "hour", "model", "outcome", "quality", "calls", "input", "units")
        return {tuple(row[:5]): tuple(row[5:]) for row in UsageRollup.objects.values_list(*fields)}

    def expected(self) -> dict[Any, tuple[int, int, int]]:
        calls: Counter[Any] = Counter()
        tokens: Counter[Any] = Counter()
        units: Counter[Any] = Counter()
        for event in self.committed.values():
            hour = event.occurred_at.replace(minute=0, second=0, microsecond=0)
            key = (event.api_key_id, hour, event.model, event.outcome, event.quality)
            calls[key] += 1
            tokens[key] += event.input
            units[key] += event.units
        return {key: (calls[key], tokens[key], units[key]) for key in calls}


class RollUpThread(threading.Thread):
    """A roll-up on a connection of its own; being cut off is what it is for."""

    def run(self) -> None:
        try:
            roll_up(now=NOW)
        except OperationalError:
            pass
        finally:
            connection.close()


def terminate(killer: psycopg.Connection[Any], *, blocked_by: int) -> bool:
    found = killer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
        [blocked_by],
    )
    return found.fetchone() is not None


def rows() -> list[tuple[Any, ...]]:
    fields = [field.attname for field in UsageRollup._meta.concrete_fields if field.attname != "id"]
    return sorted(UsageRollup.objects.values_list(*fields), key=repr)


def test_l4_every_event_is_in_the_rollups_exactly_once(live_db: str) -> None:
    RollingUp.database_url = live_db
    run_state_machine_as_test(
        RollingUp,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
