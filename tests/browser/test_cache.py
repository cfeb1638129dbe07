"""An operator invalidates what a tenant's cache has and finds it on record, and sees how well it does."""

from datetime import timedelta

import pytest
from django.utils import timezone
from selenium.webdriver.common.by import By

from cacheproxy.models import CacheInvalidation, CacheStatistic, ServedModel
from metering.periods import month_of
from tenants.models import Tenant
from tests.browser.conftest import Browser
from tests.factories.statistics import count

pytestmark = pytest.mark.browser


def test_a_tenants_cache_is_invalidated_from_its_page(house: Tenant, browser: Browser) -> None:
    ServedModel.objects.create(name="qwen-small")
    browser.sign_in()
    browser.open(f"/admin/tenants/tenant/{house.pk}/change/")
    browser.waits_for("Invalidate cache")
    browser.shoot("tenant_with_cache")
    browser.click("Invalidate cache")
    browser.waits_for("X-Zerorate-Cache-Tags")
    assert "Acme Ltd" in browser.text
    browser.driver.find_element(By.NAME, "session").send_keys("s1")
    browser.driver.find_element(By.NAME, "tag").send_keys("price list")
    browser.driver.find_element(By.NAME, "_save").click()
    browser.waits_for("Name a session or a tag, not both.")
    assert "Constraint" not in browser.text
    browser.shoot("invalidate_refused")
    browser.driver.find_element(By.NAME, "session").clear()
    browser.driver.find_element(By.NAME, "tag").clear()
    browser.driver.find_element(By.NAME, "tag").send_keys("price-list")
    browser.driver.find_element(By.NAME, "reason").send_keys("new prices are out")
    browser.shoot("invalidate")
    browser.driver.find_element(By.NAME, "_save").click()
    browser.waits_for("tenant Acme Ltd, tag price-list")
    browser.shoot("invalidations")
    made = CacheInvalidation.objects.get()
    assert (made.tenant, made.tag, made.made_by) == (house, "price-list", "operator")
    browser.open(f"/admin/cacheproxy/cacheinvalidation/{made.pk}/change/")
    browser.waits_for("new prices are out")
    browser.shoot("invalidation")


def test_the_caches_statistics_are_drawn(house: Tenant, browser: Browser) -> None:
    first, now = month_of(timezone.now()).start, timezone.now()
    for day in range((now - first).days + 1):
        at = first + timedelta(days=day)
        for place, result in enumerate(CacheStatistic.Result.values):
            calls = (7 * day + 5 * place) % 40
            count(
                house, result, calls, model="qwen-small", at=at, size_bytes=900 * calls, age_ms=90_000 * calls
            )
    browser.sign_in()
    browser.open(f"/admin/tenants/tenant/{house.pk}/change/")
    browser.click("Cache hits")
    browser.waits_for("Cache of Acme Ltd")
    browser.waits_for("never seen")
    browser.shoot("cache_statistics")
