"""Tenants and their keys."""

import hashlib

import factory

from tenants.models import ApiKey, Tenant


class TenantFactory(factory.django.DjangoModelFactory[Tenant]):
    class Meta:
        model = Tenant

    slug = factory.Sequence(lambda number: f"tenant-{number}")
    name = factory.LazyAttribute(lambda tenant: f"{tenant.slug.title()} Ltd")
    billing_email = factory.LazyAttribute(lambda tenant: f"ap@{tenant.slug}.example")
    billing_address = "1 Long Road\n10115 Berlin"


class ApiKeyFactory(factory.django.DjangoModelFactory[ApiKey]):
    """A key whose text nobody knows; issue_key makes one that can be used."""

    class Meta:
        model = ApiKey

    tenant = factory.SubFactory(TenantFactory)
    name = "production"
    public_id = factory.Sequence(lambda number: f"{number:012}")
    digest = factory.LazyAttribute(lambda key: hashlib.sha256(key.public_id.encode()).digest())
