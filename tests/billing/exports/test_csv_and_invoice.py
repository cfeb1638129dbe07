"""The CSV, opened with Python's csv, sums to the invoices: line by line, and to the cent."""

import csv
import io
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from django.utils import timezone

from billing.exports.usage_csv import usage_csv
from billing.models import Invoice
from billing.money import settle
from metering.tokens import BILLABLE
from tenants.models import Tenant
from tests.billing.conftest import DECEMBER, NOVEMBER, bill
from tests.factories.billing import subscribed_tenant
from tests.factories.usage import NOVEMBER_NOON, prove_wrong, use

pytestmark = pytest.mark.usefixtures("live_db")
IN_JANUARY = DECEMBER.end + timedelta(days=2)


def billed_rows(tenant: Tenant, invoice: Invoice) -> list[dict[str, str]]:
    """Return the rows of both months that say they stand on the invoice."""
    rows: list[dict[str, str]] = []
    for month in (NOVEMBER, DECEMBER):
        text = b"".join(usage_csv(tenant=tenant, period=month, now=timezone.now())).decode()
        rows += csv.DictReader(io.StringIO(text, newline=""))
    return [row for row in rows if row["invoice"] == invoice.number]


def settled_minor(rows: list[dict[str, str]]) -> int:
    """Add up the charges as an invoice does: each line, one pool at one price, is rounded once."""
    lines: defaultdict[tuple[object, ...], Decimal] = defaultdict(Decimal)
    for row in rows:
        for pool in BILLABLE:
            if quantity := int(row[pool]):
                price = Fraction(row[f"{pool}_list"]) / quantity
                words = (row["billed_as"], row["model"], row["outcome"], row["quality"])
                lines[*words, pool, price] += Decimal(row[f"{pool}_charged"])
    return sum(settle(amount, "USD") for amount in lines.values())


def test_each_invoice_is_the_sum_of_the_rows_that_name_it(live_db: str) -> None:
    tenant, stranger = subscribed_tenant(), subscribed_tenant()
    for number in range(40):
        outcome = ("miss", "exact", "semantic", "coalesced", "bypass")[number % 5]
        instant = NOVEMBER_NOON + timedelta(hours=number)
        counts = {"input": 12_345 * number, "output": 678 * number, "cache_read": 9 * number}
        use(tenant.pk, outcome=outcome, occurred_at=instant, **counts)
        use(stranger.pk, outcome=outcome, occurred_at=instant, **counts)
    use(tenant.pk, quality="suspect", input=5_000_000)
    use(tenant.pk, quality="estimated", input=5_005_000)
    use(tenant.pk, model="unpriced", input=1_000_000)
    november = bill(tenant, NOVEMBER)
    use(tenant.pk, occurred_at=NOVEMBER_NOON, input=7_777_777)
    use(tenant.pk, occurred_at=DECEMBER.start, input=3_333_333)
    december = bill(tenant, DECEMBER, IN_JANUARY)

    for invoice, calls in ((november, 43), (december, 2)):
        rows = billed_rows(tenant, invoice)
        assert len(rows) == calls
        assert settled_minor(rows) == invoice.net_minor > 0
        accrued = {name: sum(Decimal(row[name]) for row in rows) for name in ("list", "charged")}
        lines = invoice.lines.all()
        assert accrued["list"] == sum(line.list_accrued for line in lines)
        assert accrued["charged"] == sum(line.net_accrued for line in lines)
    assert [row["billed_as"] for row in billed_rows(tenant, december)] == ["late_usage", "usage"]


def test_a_wrong_hit_names_the_invoice_that_gives_it_back(live_db: str) -> None:
    tenant, stranger = subscribed_tenant(), subscribed_tenant()
    for known in (tenant, stranger):
        hit = use(known.pk, outcome="semantic", input=1_000_000, output=0)
        use(known.pk, outcome="semantic", input=1_000_000, output=0)
    november = bill(tenant, NOVEMBER)
    proof = prove_wrong(use(tenant.pk, outcome="semantic", input=3_000_000, output=0))
    prove_wrong(hit)
    before = wrong_rows(tenant)
    use(tenant.pk, occurred_at=DECEMBER.start, input=9_000_000)
    december = bill(tenant, DECEMBER, IN_JANUARY)
    (row,) = wrong_rows(tenant)
    assert [(known["event_id"], known["credited"]) for known in before] == [(str(proof.event_id), "")]
    assert (row["event_id"], row["credited"], row["credited_on"]) == (
        str(proof.event_id),
        "0.3",
        december.number,
    )
    assert row["charged"] == row["credited"]
    assert december.lines.get(kind="wrong_hit").net_accrued == -Decimal(row["credited"])
    assert november.wrong_hit_credits.count() == 0


def wrong_rows(tenant: Tenant) -> list[dict[str, str]]:
    text = b"".join(usage_csv(tenant=tenant, period=NOVEMBER, now=timezone.now())).decode()
    return [row for row in csv.DictReader(io.StringIO(text, newline="")) if row["proven_wrong_at"]]
