"""What the operator is told of the error budgets of semantic hits."""

from decimal import Decimal

import msgspec
import pytest
from django.db import connection
from django.test import Client

from cacheproxy.models import ServedModel
from cacheproxy.semantic.budget.account import State, Tally
from cacheproxy.semantic_budgets import budget_reports
from tenants.models import Scope
from tests.billing.api.conftest import caller
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db
SHUT = State(shut=True, trusted=False, proof=Tally(checks=60, wrong=20), drifts=1)


@pytest.fixture(autouse=True)
def _budgets() -> None:
    """A dialogue whose hits are shut off, an older version of it, and a model that shares nothing any more."""
    ServedModel.objects.create(name="dialogue", version="2", cache={"semantic": {}})
    ServedModel.objects.create(name="classifier", version="1", cache={})
    with connection.cursor() as cursor:
        for model, version, state in (
            ("dialogue", "1", State()),
            ("dialogue", "2", SHUT),
            ("classifier", "1", State()),
        ):
            cursor.execute(
                "INSERT INTO cacheproxy_semanticbudget (model, version, state, updated_at)"
                " VALUES (%s, %s, %s, '2026-11-21T12:00Z')",
                [model, version, msgspec.json.encode(state).decode()],
            )


def test_models_as_they_are_served_now_are_reported() -> None:
    (report,) = budget_reports()
    assert (report.model, report.version, report.shut_off) == ("dialogue", "2", True)
    assert (report.checks, report.wrong, report.drifts) == (60, 20, 1)
    assert report.wrong_ratio > report.tolerated_ratio == Decimal("0.05")


def test_the_operators_page_shows_them(admin_client: Client) -> None:
    page = admin_client.get("/admin/cacheproxy/cachestatistic/", {"month": "2026-11"}).content.decode()
    assert "dialogue 2" in page
    assert "shut off" in page
    assert "5.00%" in page


def test_staff_are_told_at_the_api_and_tenants_are_not(admin_client: Client) -> None:
    url, november = "/api/v1/cache/statistics", {"month": "2026-11"}
    (budget,) = admin_client.get(url, november).json()["semantic_budgets"]
    assert budget["model"] == "dialogue"
    assert budget["shut_off"] is True
    assert budget["tolerated_ratio"] == "0.05"
    assert budget["updated_at"] == "2026-11-21T12:00:00Z"
    acme = caller(TenantFactory.create(slug="acme"), Scope.USAGE_READ)
    assert acme.client.get(url, november).json()["semantic_budgets"] == []
