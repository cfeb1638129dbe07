"""Two tenants in every test: the one who asks, and the stranger."""

from typing import NamedTuple

import pytest
from django.test import Client
from django.utils import timezone

from tenants.models import Scope, Tenant
from tenants.services import issue_key
from tests.factories.billing import HitDiscountFactory, PlanFactory, PriceFactory, SubscriptionFactory
from tests.factories.tenants import TenantFactory


class Caller(NamedTuple):
    """A tenant and the headers with which it calls."""

    tenant: Tenant
    headers: dict[str, str]

    @property
    def client(self) -> Client:
        return Client(headers=self.headers)

    def with_scope(self, scope: Scope) -> Client:
        return caller(self.tenant, scope).client


def caller(tenant: Tenant, *scopes: Scope) -> Caller:
    issued = issue_key(tenant=tenant, name="bi", now=timezone.now(), scopes=scopes)
    return Caller(tenant, {"Authorization": f"Bearer {issued.text}"})


def reader(slug: str) -> Caller:
    tenant = TenantFactory.create(slug=slug, name=f"{slug.title()} Ltd")
    return caller(tenant, Scope.USAGE_READ, Scope.INVOICES_READ)


@pytest.fixture
def acme(db: None) -> Caller:
    """Acme pays 0.50 in and 1.50 out per million; exact hits are free, similar answers cost a fifth."""
    acme = reader("acme")
    plan = PlanFactory.create()
    PriceFactory.create(plan=plan, pool="input", amount="0.50")
    PriceFactory.create(plan=plan, pool="output", amount="1.50")
    HitDiscountFactory.create(plan=plan, outcome="semantic", percent=80)
    SubscriptionFactory.create(tenant=acme.tenant, plan=plan)
    return acme


@pytest.fixture
def stranger(db: None) -> Caller:
    return reader("stranger")
