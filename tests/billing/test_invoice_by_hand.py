"""An invoice of ten calls, against a reckoning by hand.

Prices per million tokens: input 0.50, cache_read 0.05, output 1.50 USD. Exact and coalesced hits are free,
semantic hits 80 % off.
"""

from datetime import timedelta

import pytest

from billing.selectors.verification import verify_invoice
from tests.billing.conftest import bill
from tests.factories.billing import subscribed_tenant
from tests.factories.usage import NOVEMBER_NOON, use

CALLS = [
    ("miss", {"input": 123_457, "output": 9_871}),
    ("miss", {"input": 88_001, "cache_read": 500_000, "output": 12_345}),
    ("miss", {"input": 1, "output": 1}),
    ("exact", {"input": 123_457, "output": 9_871}),
    ("exact", {"input": 123_457, "output": 9_871}),
    ("exact", {"input": 88_001, "cache_read": 500_000, "output": 12_345}),
    ("coalesced", {"input": 123_457, "output": 9_871}),
    ("semantic", {"input": 123_999, "output": 9_871}),
    ("semantic", {"input": 77_777, "output": 8_642}),
    ("bypass", {"input": 43_210, "output": 2_345}),
]

# outcome, pool: tokens, list, saved, net in cents; beside it the sum, the exact list price, the exact charge.
BY_HAND = {
    ("miss", "input"): (211_459, 11, 0, 11),  # 123457 + 88001 + 1; 0.1057295
    ("miss", "cache_read"): (500_000, 3, 0, 3),  # 0.025, half up
    ("miss", "output"): (22_217, 3, 0, 3),  # 9871 + 12345 + 1; 0.0333255
    ("bypass", "input"): (43_210, 2, 0, 2),  # 0.021605
    ("bypass", "output"): (2_345, 0, 0, 0),  # 0.0035175
    ("exact", "input"): (334_915, 17, 17, 0),  # 2 × 123457 + 88001; 0.1674575
    ("exact", "cache_read"): (500_000, 3, 3, 0),  # 0.025
    ("exact", "output"): (32_087, 5, 5, 0),  # 2 × 9871 + 12345; 0.0481305
    ("coalesced", "input"): (123_457, 6, 6, 0),  # 0.0617285
    ("coalesced", "output"): (9_871, 1, 1, 0),  # 0.0148065
    ("semantic", "input"): (201_776, 10, 8, 2),  # 123999 + 77777; 0.100888; 0.0201776
    ("semantic", "output"): (18_513, 3, 2, 1),  # 9871 + 8642; 0.0277695; 0.0055539
}


@pytest.mark.usefixtures("live_db")
def test_the_invoice_of_ten_calls_is_what_a_person_reckons() -> None:
    tenant = subscribed_tenant()
    for minutes, (outcome, tokens) in enumerate(CALLS):
        use(tenant.pk, outcome=outcome, occurred_at=NOVEMBER_NOON + timedelta(minutes=minutes), **tokens)
    invoice = bill(tenant)
    lines = {
        (line.outcome, line.pool): (line.quantity, line.list_minor, line.discount_minor, line.net_minor)
        for line in invoice.lines.all()
    }
    assert lines == BY_HAND
    assert (invoice.list_minor, invoice.discount_minor, invoice.net_minor) == (64, 42, 22)
    assert verify_invoice(invoice=invoice) == []
