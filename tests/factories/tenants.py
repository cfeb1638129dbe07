"""Tenants and their keys."""

import hashlib

from factory.declarations import LazyAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from tenants.models import ApiKey, Tenant


class TenantFactory(DjangoModelFactory[Tenant]):
    class Meta:
        model = Tenant

    slug = Sequence(lambda number: f"tenant-{number}")
    name = LazyAttribute(lambda tenant: f"{tenant.slug.title()} Ltd")
    billing_email = LazyAttribute(lambda tenant: f"ap@{tenant.slug}.example")
    billing_address = "1 Long Road\n10115 Berlin"


class ApiKeyFactory(DjangoModelFactory[ApiKey]):
    """A key whose text nobody knows; issue_key makes one that can be used."""

    class Meta:
        model = ApiKey

    tenant = SubFactory(TenantFactory)
    name = "production"
    public_id = Sequence(lambda number: f"{number:012}")
    digest = LazyAttribute(lambda key: hashlib.sha256(key.public_id.encode()).digest())
