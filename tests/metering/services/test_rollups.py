"""Roll-ups count what is committed, once, and say why where they cannot."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from metering.errors import ForeignCluster, TransactionCounterBehind
from metering.models import RollupProgress, UsageRollup
from metering.selectors import count_waiting_events, rollup_differences
from metering.services.rollups import rebuild, roll_up
from metering.tasks import make_partitions, roll_up_usage
from tenants.models import ApiKey
from tests.factories.tenants import ApiKeyFactory, TenantFactory
from tests.factories.usage import NOVEMBER_NOON, connect, record, usage_event, use

NOW = datetime(2026, 11, 10, 13, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("live_db")


def test_events_are_summed_by_hour_and_everything_that_prices_or_reports_differ_by() -> None:
    key = ApiKeyFactory.create()
    tenant_id = key.tenant_id
    use(
        tenant_id,
        input=1,
        output=2,
        output_reasoning=1,
        cache_read=3,
        cache_write=4,
        cache_write_1h=5,
        units=6,
    )
    use(
        tenant_id,
        input=10,
        output=20,
        output_reasoning=10,
        units=60,
        occurred_at=NOVEMBER_NOON + timedelta(minutes=59),
    )
    for other in (
        {"occurred_at": NOVEMBER_NOON + timedelta(hours=1)}, {"model": "other"}, {"model_version": "2"},
        {"outcome": "exact"}, {"quality": "estimated"}, {"api_key_id": key.pk},
    ):  # fmt: skip
        use(tenant_id, **other)
    assert roll_up(now=NOW).events == 8
    first = UsageRollup.objects.get(
        hour=NOVEMBER_NOON, model="qwen", model_version="1", outcome="miss", quality="reported", api_key=None
    )
    assert first.calls == 2
    sums = (first.input, first.cache_read, first.cache_write, first.cache_write_1h, first.output)
    assert sums == (11, 3, 4, 5, 22)
    assert (first.output_reasoning, first.units) == (11, 66)
    assert UsageRollup.objects.count() == 7


def test_a_second_roll_up_counts_only_what_is_new() -> None:
    tenant = TenantFactory.create()
    use(tenant.pk)
    assert roll_up(now=NOW).events == 1
    assert roll_up(now=NOW).events == 0
    use(tenant.pk)
    assert roll_up(now=NOW).events == 1
    assert UsageRollup.objects.get().calls == 2


def test_an_uncommitted_event_waits_and_holds_back_what_came_after_it(live_db: str) -> None:
    tenant = TenantFactory.create()
    with connect(live_db) as slow:
        record([usage_event(tenant.pk)], slow.cursor())
        use(tenant.pk)
        assert roll_up(now=NOW).events == 0
    assert roll_up(now=NOW).events == 2


def test_an_aborted_event_is_never_counted(live_db: str) -> None:
    tenant = TenantFactory.create()
    with connect(live_db) as doomed:
        record([usage_event(tenant.pk)], doomed.cursor())
        doomed.rollback()
    use(tenant.pk)
    assert roll_up(now=NOW).events == 1


def test_a_backlog_is_counted_in_chunks_of_whole_transactions(live_db: str) -> None:
    tenant = TenantFactory.create()
    for size in (3, 1, 4, 1, 5):
        with connect(live_db) as writer:
            record([usage_event(tenant.pk) for _ in range(size)], writer.cursor())
    assert count_waiting_events() == 14
    chunks: list[int] = []
    assert roll_up(now=NOW, chunk_events=4, on_progress=chunks.append).events == 14
    assert sum(chunks) == 14
    assert len(chunks) > 2
    assert rollup_differences(period=None) == []


def test_keys_are_marked_as_used_and_never_backwards() -> None:
    key = ApiKeyFactory.create()
    later = NOVEMBER_NOON + timedelta(minutes=5)
    use(key.tenant_id, api_key_id=key.pk, occurred_at=later)
    roll_up(now=NOW)
    use(key.tenant_id, api_key_id=key.pk, occurred_at=NOVEMBER_NOON)
    roll_up(now=NOW)
    assert ApiKey.objects.get(pk=key.pk).last_used_at == later


def test_a_restored_database_is_refused_until_it_is_rebuilt() -> None:
    tenant = TenantFactory.create()
    use(tenant.pk)
    roll_up(now=NOW)
    before = list(UsageRollup.objects.values().order_by("id"))
    RollupProgress.objects.update(system_identifier=1)
    use(tenant.pk)
    with pytest.raises(ForeignCluster, match="--rebuild"):
        roll_up(now=NOW)
    assert list(UsageRollup.objects.values().order_by("id")) == before
    assert rebuild(now=NOW).events == 2
    use(tenant.pk)
    assert roll_up(now=NOW).events == 1
    assert UsageRollup.objects.get().calls == 3


def test_a_rebuild_refuses_transaction_ids_that_this_cluster_has_yet_to_give_out() -> None:
    tenant = TenantFactory.create()
    use(tenant.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_usageevent SELECT moved.* FROM metering_usageevent AS known,"
            " jsonb_populate_record(known, jsonb_build_object("
            "   'event_id', gen_random_uuid(), 'xact_id', 1::bigint << 40)) AS moved"
        )
    with pytest.raises(TransactionCounterBehind, match=r"pg_resetwal --next-transaction-id=\d+ --epoch=\d+"):
        rebuild(now=NOW)
    assert not UsageRollup.objects.exists()


def test_the_command_rolls_up_and_rebuilds(capsys: pytest.CaptureFixture[str]) -> None:
    use(TenantFactory.create().pk)
    call_command("roll_up_usage")
    assert "1 events rolled up" in capsys.readouterr().out
    call_command("roll_up_usage", "--rebuild")
    assert "1 events rolled up" in capsys.readouterr().out
    RollupProgress.objects.update(system_identifier=1)
    with pytest.raises(CommandError, match="restored dump"):
        call_command("roll_up_usage")


def test_the_sweeps_do_the_same() -> None:
    use(TenantFactory.create().pk)
    roll_up_usage()
    make_partitions()
    assert UsageRollup.objects.get().calls == 1
