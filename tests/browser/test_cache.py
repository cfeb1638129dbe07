"""An operator invalidates what a tenant's cache has, and finds it on record."""

import pytest
from selenium.webdriver.common.by import By

from cacheproxy.models import CacheInvalidation, ServedModel
from tenants.models import Tenant
from tests.browser.conftest import Browser

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
