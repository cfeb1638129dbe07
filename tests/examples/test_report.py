from decimal import Decimal
from typing import Any

from examples import report
from examples.account import Bill
from examples.calls import Answer
from examples.documents import Document
from examples.workload import Upload


def _line(outcome: str, quantity: int, percent: str) -> dict[str, Any]:
    line = {"pool": "input", "outcome": outcome, "quantity": quantity, "calls": 1, "charged_accrued": "0.005"}
    return line | {"discount_percent": percent}


def _bill(percent: str) -> Bill:
    lines = [_line("miss", 1001, "0"), _line("exact", 3003, percent)]
    return Bill("INV-1", "EUR", list_minor=412, charged_minor=112, saved_minor=300, lines=lines)


def _answer(tenant: str, outcome: str, latency_ms: float) -> Answer:
    upload = Upload(tenant, "capture", Document("receipt", b"", ()), b"")
    return Answer(upload, outcome, latency_ms, Decimal(1), Decimal(1), "")


def test_a_bill_tells_tokens_served_computed_and_charged() -> None:
    bill = _bill("50")
    assert (bill.tokens_served, bill.tokens_computed) == (4004, 1001)
    assert bill.tokens_charged == Decimal("2502.5")
    assert bill.charged_exactly == Decimal("0.010")
    assert bill.calls == {"miss": 1, "exact": 1}


def test_the_table_has_a_column_for_each_tenant_and_the_total() -> None:
    answers = [
        _answer("acme", "miss", 900.0),
        _answer("acme", "exact", 4.0),
        _answer("globex", "miss", 700.0),
        _answer("globex", "exact", 6.0),
    ]
    lines = report.table(answers, {"acme": _bill("100"), "globex": _bill("50")}).splitlines()
    rows = {line[:20].strip(): line[20:].split() for line in lines}
    assert lines[1].split() == ["acme", "globex", "total"]
    assert rows["Hits"] == ["1", "1", "2"]
    assert rows["Tokens computed"] == ["1,001", "1,001", "2,002"]
    assert rows["Charged"] == ["1.12", "EUR", "1.12", "EUR", "2.24", "EUR"]
    assert rows["Fewer tokens charged"] == ["75.0", "%", "37.5", "%", "56.2", "%"]
    assert rows["p50 of hits"] == ["4.0", "ms", "6.0", "ms", "5.0", "ms"]
    assert len({len(line.rstrip()) for line in lines[:1] + lines[-1:]}) == 1
