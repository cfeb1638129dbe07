"""An operator lets a tenant into a pool on the tenant's word, sees it on record, and lets it out again."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from cacheproxy.models import CachePool, PoolMembership
from tenants.models import Tenant
from tests.browser.conftest import Browser

pytestmark = pytest.mark.browser


def test_a_tenant_joins_a_pool_and_leaves_it(house: Tenant, browser: Browser) -> None:
    browser.sign_in()
    browser.open("/admin/cacheproxy/cachepool/add/")
    browser.waits_for("As policies name it")
    browser.driver.find_element(By.NAME, "name").send_keys("public-documents")
    browser.shoot("pool_new")
    browser.driver.find_element(By.NAME, "_save").click()
    browser.waits_for("public-documents")
    browser.shoot("pools")
    browser.open(f"/admin/tenants/tenant/{house.pk}/join-pool/")
    browser.waits_for("It is the tenant's decision")
    Select(browser.driver.find_element(By.NAME, "pool")).select_by_visible_text("public-documents")
    browser.driver.find_element(By.NAME, "agreed_by").send_keys("Ann Lee, contract of 20 November")
    browser.shoot("pool_join")
    browser.press("Join pool")
    browser.waits_for("Acme Ltd shares answers in public-documents")
    browser.shoot("tenant_in_pool")
    pool = CachePool.objects.get()
    browser.open(f"/admin/tenants/tenant/{house.pk}/leave-pool/")
    browser.waits_for("neither gives answers to this pool nor gets any")
    Select(browser.driver.find_element(By.NAME, "pool")).select_by_visible_text("public-documents")
    browser.shoot("pool_leave")
    browser.press("Leave pool")
    browser.waits_for("Acme Ltd has left public-documents")
    browser.open(f"/admin/cacheproxy/cachepool/{pool.pk}/change/")
    browser.waits_for("Ann Lee, contract of 20 November")
    browser.shoot("pool")
    browser.open(f"/admin/cacheproxy/cachepool/{pool.pk}/rotate-secret/")
    browser.waits_for("nothing that this pool has kept is found by anybody")
    browser.driver.find_element(By.NAME, "reason").send_keys("once a year")
    browser.shoot("pool_rotate")
    browser.press("Rotate secret")
    browser.waits_for("public-documents has a new secret")
    browser.open("/admin/cacheproxy/cacheinvalidation/")
    browser.waits_for("Acme Ltd left the pool")
    browser.shoot("pool_on_record")
    assert PoolMembership.objects.get().left_by == "operator"
