"""`GET /api/v1/invoices`."""

from typing import Any

import pytest

from billing.models import Invoice
from metering.periods import month
from tenants.models import Scope
from tests.billing.api.conftest import Caller
from tests.factories.invoices import draft, issue

URL = "/api/v1/invoices"


def listed(caller: Caller, **query: Any) -> list[str]:
    response = caller.client.get(URL, query)
    assert response.status_code == 200, response.content
    return [invoice["number"] for invoice in response.json()["results"]]


def test_each_tenant_sees_its_own_the_youngest_first(acme: Caller, stranger: Caller) -> None:
    issue(acme.tenant, "INV-2026-000001", month("2026-09"))
    issue(acme.tenant, "INV-2026-000003", month("2026-10"))
    issue(stranger.tenant, "INV-2026-000002", month("2026-09"))
    assert listed(acme) == ["INV-2026-000003", "INV-2026-000001"]
    assert listed(stranger) == ["INV-2026-000002"]


def test_an_invoice_in_short(acme: Caller, stranger: Caller) -> None:
    invoice = issue(acme.tenant, "INV-2026-000001", month("2026-10"), {}, {"outcome": "exact"})
    (found,) = acme.client.get(URL).json()["results"]
    assert found.pop("finalised_at").endswith("Z")
    assert found.pop("due_at").endswith("Z")
    assert found == {
        "number": invoice.number,
        "status": "open",
        "period_start": "2026-10-01T00:00:00Z",
        "period_end": "2026-11-01T00:00:00Z",
        "currency": "USD",
        "list": {"amount": "24.70", "amount_minor": 2470, "currency": "USD"},
        "saved": {"amount": "0.00", "amount_minor": 0, "currency": "USD"},
        "charged": {"amount": "24.70", "amount_minor": 2470, "currency": "USD"},
        "paid_at": None,
        "voided_at": None,
    }


def test_drafts_are_not_shown(acme: Caller, stranger: Caller) -> None:
    draft(acme.tenant, month("2026-10"))
    draft(stranger.tenant, month("2026-10"))
    assert listed(acme) == listed(stranger) == []


def test_only_those_of_a_status(acme: Caller, stranger: Caller) -> None:
    issue(stranger.tenant, "INV-1", month("2026-09"))
    issue(acme.tenant, "INV-2", month("2026-09"))
    void = issue(acme.tenant, "INV-3", month("2026-10"))
    void.status = Invoice.Status.VOID
    void.save()
    assert listed(acme, status="open") == ["INV-2"]
    assert listed(acme, status="void") == ["INV-3"]
    assert listed(acme, status="paid") == []


def test_pages_lead_from_one_to_the_next(acme: Caller, stranger: Caller) -> None:
    for number in range(1, 6):
        issue(acme.tenant, f"INV-A{number}", month(f"2026-0{number}"))
        issue(stranger.tenant, f"INV-S{number}", month(f"2026-0{number}"))
    page = acme.client.get(URL, {"page_size": 2}).json()
    seen = [page]
    while page["next"]:
        page = acme.client.get(page["next"]).json()
        seen.append(page)
    numbers = [[invoice["number"] for invoice in page["results"]] for page in seen]
    assert numbers == [["INV-A5", "INV-A4"], ["INV-A3", "INV-A2"], ["INV-A1"]]
    assert acme.client.get(seen[1]["previous"]).json()["results"] == seen[0]["results"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"status": "draft"}, "status"),
        ({"page_size": "0"}, "page_size"),
        ({"page_size": "201"}, "page_size"),
        ({"page_size": "many"}, "page_size"),
        ({"tenant": "stranger"}, "tenant"),
    ],
)
def test_a_wrong_parameter_is_named(
    acme: Caller, stranger: Caller, query: dict[str, str], parameter: str
) -> None:
    issue(stranger.tenant, "INV-1", month("2026-09"))
    response = acme.client.get(URL, query)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "invalid_parameter"
    assert [error["parameter"] for error in problem["errors"]] == [parameter]


def test_a_cursor_that_is_none(acme: Caller, stranger: Caller) -> None:
    assert acme.client.get(URL, {"cursor": "x"}).json()["code"] == "not_found"


def test_it_takes_the_scope_invoices_read(acme: Caller, stranger: Caller) -> None:
    for caller in (acme, stranger):
        response = caller.with_scope(Scope.USAGE_READ).get(URL)
        assert (response.status_code, response.json()["code"]) == (403, "scope_missing")


def test_it_cannot_be_posted_to(acme: Caller, stranger: Caller) -> None:
    for caller in (acme, stranger):
        response = caller.client.post(URL, {})
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert not Invoice.objects.exists()
