"""Months are closed once, in order, tenant by tenant."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from billing.errors import EarlierPeriodOpen, NoPlan, PeriodAlreadyClosed, PeriodNotOver
from billing.models import Invoice
from billing.services.payments import void_invoice
from billing.services.periods import close_due_periods, close_period
from billing.tasks import close_due_periods as close_due_periods_task
from metering.models import UsageRollup
from tests.billing.conftest import DECEMBER, IN_DECEMBER, NOVEMBER, OCTOBER, bill
from tests.factories.billing import subscribed_tenant
from tests.factories.tenants import TenantFactory
from tests.factories.usage import NOVEMBER_NOON, use

OCTOBER_NOON = datetime(2026, 10, 10, 12, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("live_db")


def test_closing_rolls_up_and_invoices_every_tenant_with_usage() -> None:
    first, second, idle = (subscribed_tenant() for _ in range(3))
    use(first.pk)
    use(second.pk, outcome="exact")
    told: list[object] = []
    verdicts = close_period(period=NOVEMBER, now=IN_DECEMBER, on_verdict=told.append)
    assert [verdict.tenant for verdict in verdicts] == [first, second]
    assert told == verdicts
    assert {invoice.tenant_id: invoice.status for invoice in Invoice.objects.all()} == {
        first.pk: "paid",
        second.pk: "paid",
    }
    assert not Invoice.objects.filter(tenant=idle).exists()


def test_a_month_that_runs_is_refused_unless_early_and_the_rest_comes_late() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_000_000, output=0)
    middle = NOVEMBER_NOON + timedelta(days=1)
    with pytest.raises(PeriodNotOver, match="2026-11 runs until 2026-12-01 00:00 UTC"):
        close_period(period=NOVEMBER, now=middle)
    assert not UsageRollup.objects.exists()
    close_period(period=NOVEMBER, now=middle, early=True)
    use(tenant.pk, input=2_000_000, output=0, occurred_at=NOVEMBER_NOON + timedelta(days=2))
    (verdict,) = close_period(period=DECEMBER, now=datetime(2027, 1, 3, tzinfo=UTC))
    assert verdict.invoice is not None
    assert list(verdict.invoice.lines.values_list("kind", "net_minor")) == [("late_usage", 100)]


def test_a_closed_month_is_refused_once_there_is_nothing_new_in_it() -> None:
    first = subscribed_tenant()
    use(first.pk)
    close_period(period=NOVEMBER, now=IN_DECEMBER)
    for tenant in (None, first):
        with pytest.raises(PeriodAlreadyClosed, match="2026-11 is already closed: INV-2026-000001"):
            close_period(period=NOVEMBER, now=IN_DECEMBER, tenant=tenant)
    newcomer = subscribed_tenant()
    use(newcomer.pk)
    verdicts = close_period(period=NOVEMBER, now=IN_DECEMBER)
    assert [(verdict.tenant, type(verdict.error)) for verdict in verdicts] == [
        (first, PeriodAlreadyClosed),
        (newcomer, type(None)),
    ]


def test_what_refuses_one_tenant_does_not_stop_another() -> None:
    behind, planless, fine = subscribed_tenant(), TenantFactory.create(), subscribed_tenant()
    use(behind.pk, occurred_at=OCTOBER_NOON)
    for tenant in (behind, planless, fine):
        use(tenant.pk)
    verdicts = {verdict.tenant: verdict for verdict in close_period(period=NOVEMBER, now=IN_DECEMBER)}
    assert isinstance(verdicts[behind].error, EarlierPeriodOpen)
    assert isinstance(verdicts[planless].error, NoPlan)
    assert verdicts[fine].invoice is not None
    assert Invoice.objects.get().tenant == fine


def test_only_the_named_tenant_is_closed() -> None:
    named, other = subscribed_tenant(), subscribed_tenant()
    use(named.pk)
    use(other.pk)
    close_period(period=NOVEMBER, now=IN_DECEMBER, tenant=named)
    assert Invoice.objects.get().tenant == named


def test_the_sweep_drafts_at_the_end_and_finalises_after_the_grace() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_000_000, output=0)
    assert close_due_periods(now=NOVEMBER.end - timedelta(seconds=1)) == []
    close_due_periods(now=NOVEMBER.end)
    assert Invoice.objects.get().status == "draft"
    use(tenant.pk, input=1_000_000, output=0)
    close_due_periods(now=NOVEMBER.end + timedelta(hours=24))
    assert list(Invoice.objects.values_list("status", "net_minor")) == [("open", 100)]
    assert close_due_periods(now=NOVEMBER.end + timedelta(hours=25)) == []


def test_the_sweep_catches_up_in_order_and_with_late_usage() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, occurred_at=OCTOBER_NOON)
    use(tenant.pk)
    close_due_periods(now=IN_DECEMBER)
    assert list(Invoice.objects.order_by("number").values_list("period_start", flat=True)) == [
        OCTOBER.start,
        NOVEMBER.start,
    ]
    use(tenant.pk, occurred_at=OCTOBER_NOON)
    close_due_periods(now=datetime(2027, 1, 3, tzinfo=UTC))
    last = Invoice.objects.order_by("number").last()
    assert last is not None
    assert (last.period_start, last.lines.get(pool="input").kind) == (DECEMBER.start, "late_usage")


def test_the_sweep_leaves_a_voided_month_to_the_operator() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_000_000)
    void_invoice(invoice=bill(tenant), now=IN_DECEMBER)
    assert close_due_periods(now=IN_DECEMBER + timedelta(days=1)) == []
    close_period(period=NOVEMBER, now=IN_DECEMBER + timedelta(days=1), tenant=tenant)
    assert set(Invoice.objects.values_list("status", flat=True)) == {"void", "open"}


def test_the_task_is_the_sweep() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, occurred_at=datetime(2025, 1, 5, tzinfo=UTC))
    close_due_periods_task()
    assert Invoice.objects.get().number is not None


def test_the_command_prints_a_line_for_each_tenant(capsys: pytest.CaptureFixture[str]) -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_000_000, output=0, occurred_at=datetime(2025, 1, 5, tzinfo=UTC))
    use(tenant.pk, input=3_000_000, output=0, outcome="exact", occurred_at=datetime(2025, 1, 5, tzinfo=UTC))
    call_command("close_period", "--month", "2025-01")
    year = datetime.now(UTC).year
    assert capsys.readouterr().out == f"{tenant.slug}: INV-{year}-000001, 0.50 USD, saved 1.50 USD\n"
    with pytest.raises(CommandError, match="2025-01 is already closed"):
        call_command("close_period", "--month", "2025-01")
    call_command("close_period", "--month", "2024-01")
    assert "no usage to invoice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--month", "2025-1"], "not a month: write YYYY-MM"),
        (["--month", "2025-01", "--tenant", "nobody"], "There is no tenant 'nobody'"),
        (["--month", "9998-12"], "runs until"),
    ],
)
def test_the_command_refuses_with_one_clear_line(options: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("close_period", *options)


def test_the_command_fails_where_a_tenant_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    planless = TenantFactory.create()
    use(planless.pk, occurred_at=datetime(2025, 1, 5, tzinfo=UTC))
    with pytest.raises(CommandError, match="1 of 1 tenants could not be closed"):
        call_command("close_period", "--month", "2025-01")
    assert f"{planless.slug}: There is usage in 2025-01 and no plan" in capsys.readouterr().out
