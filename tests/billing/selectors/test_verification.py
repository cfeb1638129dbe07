"""An invoice that was tampered with, or a rollup that was, does not go unnoticed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.models import Invoice, Subscription
from billing.selectors.verification import reconcile, verify_invoice
from billing.services.payments import void_invoice
from metering.models import UsageRollup
from metering.services.rollups import roll_up
from tenants.models import Tenant
from tests.billing.conftest import IN_DECEMBER, NOVEMBER, OCTOBER, bill
from tests.factories.billing import PriceFactory, subscribed_tenant
from tests.factories.usage import use

OCTOBER_NOON = datetime(2026, 10, 10, 12, tzinfo=UTC)
IN_NOVEMBER = datetime(2026, 11, 2, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def tenant(live_db: str) -> Tenant:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_000_000, output=0)
    return tenant


@contextmanager
def triggers_off(table: str) -> Iterator[None]:
    """Tamper as only the owner of the database can."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def test_an_untouched_invoice_agrees(tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    invoice = bill(tenant)
    assert verify_invoice(invoice=invoice) == []
    call_command("verify_invoice", str(invoice.number))
    assert "agrees with its events to the last digit" in capsys.readouterr().out


def test_later_usage_does_not_trouble_an_earlier_invoice(tenant: Tenant) -> None:
    invoice = bill(tenant)
    use(tenant.pk)
    roll_up(now=IN_DECEMBER)
    assert verify_invoice(invoice=invoice) == []


def test_a_changed_line_is_named(tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    invoice = bill(tenant)
    with triggers_off("billing_invoiceline"):
        invoice.lines.update(quantity=1_000_001)
    (difference,) = verify_invoice(invoice=invoice)
    assert difference.what == "usage: qwen input miss (reported) at 0.5 per 1000000"
    assert difference.invoice_says.startswith("1,000,001 in 1 calls")
    assert difference.events_say.startswith("1,000,000 in 1 calls")
    with pytest.raises(CommandError, match="differs from its events in 1 places"):
        call_command("verify_invoice", str(invoice.number))
    assert "the invoice says 1,000,001" in capsys.readouterr().out


def test_a_changed_total_is_named(tenant: Tenant) -> None:
    invoice = bill(tenant)
    with triggers_off("billing_invoice"):
        Invoice.objects.update(net_minor=49, list_minor=49)
    differences = verify_invoice(invoice=Invoice.objects.get(pk=invoice.pk))
    assert [str(difference) for difference in differences] == [
        "total list: the invoice says 0.49 USD, the events say 0.50 USD",
        "total net: the invoice says 0.49 USD, the events say 0.50 USD",
    ]


def test_a_missing_event_and_a_changed_price_are_noticed(tenant: Tenant) -> None:
    invoice = bill(tenant)
    with triggers_off("billing_price"), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_price SET amount = 0.6 WHERE model = 'qwen' AND pool = 'input'")
    assert {"price book version", "total net"} < {
        difference.what for difference in verify_invoice(invoice=invoice)
    }


def test_a_changed_rollup_is_noticed_by_reconciling_not_by_the_invoice(
    tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    invoice = bill(tenant)
    UsageRollup.objects.update(input=5)
    assert verify_invoice(invoice=invoice) == []
    result = reconcile(period=NOVEMBER)
    assert not result.agrees
    assert len(result.rollups) == 1
    with pytest.raises(CommandError, match="differ"):
        call_command("reconcile", "--month", "2026-11")
    assert (
        f"rollup of tenant {tenant.pk}, key none, 2026-11-10 12h, qwen 1, miss, reported"
        in capsys.readouterr().out
    )


def test_missing_and_invented_rollups_are_noticed(tenant: Tenant) -> None:
    roll_up(now=IN_DECEMBER)
    UsageRollup.objects.update(model="other")
    differences = {item.key[3]: (item.rolled_up, item.counted) for item in reconcile(period=None).rollups}
    assert differences["other"][1] is None
    assert differences["qwen"][0] is None


def test_all_that_agrees_says_so(tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    bill(tenant)
    use(tenant.pk)
    for options in ([], ["--month", "2026-11"]):
        call_command("reconcile", *options)
        assert "Rollups and 1 invoices agree with their events." in capsys.readouterr().out


def test_late_usage_is_verified_against_the_invoices_that_stood(tenant: Tenant) -> None:
    use(tenant.pk, occurred_at=OCTOBER_NOON, input=1_000_000, output=0)
    october = bill(tenant, OCTOBER, IN_NOVEMBER)
    use(tenant.pk, occurred_at=OCTOBER_NOON, input=3_000_000, output=0)
    november = bill(tenant)
    assert november.net_minor == 200
    void_invoice(invoice=october, now=IN_DECEMBER + timedelta(hours=1))
    again = bill(tenant, OCTOBER, IN_DECEMBER + timedelta(hours=2))
    for invoice in (november, again, Invoice.objects.get(pk=october.pk)):
        assert verify_invoice(invoice=invoice) == []


def test_a_price_written_after_the_invoice_does_not_change_it(tenant: Tenant) -> None:
    use(tenant.pk, cache_write=1_000_000, output=0, input=0)
    invoice = bill(tenant)
    plan = Subscription.objects.get(tenant=tenant).plan
    PriceFactory.create(plan=plan, pool="cache_write", amount=Decimal("0.625"), effective_from=NOVEMBER.start)
    assert verify_invoice(invoice=invoice) == []


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(CommandError, match="There is no invoice 'INV-1999-000001'"):
        call_command("verify_invoice", "INV-1999-000001")
