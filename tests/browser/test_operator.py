"""An operator's morning: sign in, look at the month, at an invoice, and at what a customer saves."""

import re

import pytest
from selenium.webdriver.common.by import By

from billing.models import Invoice
from tenants.models import ApiKey, Tenant
from tests.browser.conftest import Browser

pytestmark = pytest.mark.browser


def test_the_overview_leads_to_an_invoice_with_its_lines(house: Tenant, browser: Browser) -> None:
    browser.sign_in()
    assert "Beta" not in browser.text
    for words in ["1 usage event refused", "Hit rate", "Tokens served"]:
        assert words in browser.text
    browser.shoot("overview")
    invoice = Invoice.objects.get()
    browser.click(str(invoice.number))
    browser.waits_for("Lines")
    rows = [row.text for row in browser.driver.find_elements(By.CSS_SELECTOR, "#lines tbody tr")]
    assert len(rows) == invoice.lines.count()
    assert [row for row in rows if "exact hit" in row and row.endswith("0.00 USD")]
    browser.shoot("invoice")
    browser.click("More")
    browser.click("Verify")
    browser.waits_for("Nothing changes.")
    browser.press("Verify")
    browser.waits_for("agrees with its events, to the cent")


def test_the_savings_page_is_found_from_the_list_and_draws_its_charts(
    house: Tenant, browser: Browser
) -> None:
    browser.sign_in()
    browser.click("Tenants")
    browser.waits_for("Beta GmbH")
    browser.shoot("tenants")
    browser.click("Acme Ltd")
    browser.waits_for("zr_live_")
    browser.shoot("tenant")
    browser.click("Savings")
    browser.waits_for("By model and outcome")
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, "canvas.chart")) == 3
    drawn = browser.driver.execute_script("return Object.keys(Chart.instances).length")
    assert drawn == 3
    assert "Quarantined" not in browser.text
    browser.shoot("savings")


def test_a_key_is_issued_and_shown(house: Tenant, browser: Browser) -> None:
    browser.sign_in()
    browser.open(f"/admin/tenants/tenant/{house.pk}/change/")
    browser.click("Issue API key")
    browser.waits_for("shown once")
    browser.driver.find_element(By.NAME, "key_name").send_keys("from the browser")
    browser.shoot("issue_key")
    browser.press("Issue API key")
    browser.waits_for("zr_live_")
    assert re.search(r"zr_live_[0-9A-Za-z]{50}", browser.text)
    assert ApiKey.objects.filter(name="from the browser", tenant=house).exists()
    browser.shoot("key_issued")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/admin/billing/invoice/", "INV-"),
        ("/admin/billing/plan/", "standard"),
        ("/admin/tenants/apikey/", "production"),
        ("/admin/metering/usagerollup/", "qwen-small"),
        ("/admin/metering/usagerollup/look-up/", "x-request-id"),
        ("/admin/metering/usageconflict/", "Acme Ltd"),
        ("/admin/cacheproxy/servedmodel/add/", "JSON"),
    ],
)
def test_every_page_draws_without_complaint(house: Tenant, browser: Browser, path: str, words: str) -> None:
    browser.sign_in()
    browser.open(path)
    browser.waits_for(words)
    browser.shoot(path.strip("/").replace("/", "_"))


def test_new_prices_are_set_from_the_plans_page(house: Tenant, browser: Browser) -> None:
    browser.sign_in()
    browser.click("Plans and prices")
    browser.click("standard")
    browser.waits_for("in force")
    browser.shoot("plan")
    browser.click("New prices")
    browser.waits_for("supersede those in force")
    browser.driver.find_element(By.NAME, "model").send_keys("qwen-small")
    browser.press("New prices")
    browser.waits_for("Give the price of at least one pool.")
    browser.driver.find_element(By.NAME, "input").send_keys("0.45")
    browser.shoot("new_prices")
    browser.press("New prices")
    browser.waits_for("0.45 per 1,000,000")
    assert "superseded" in browser.text


def test_a_payment_is_recorded_in_the_dark(house: Tenant, browser: Browser) -> None:
    browser.sign_in()
    browser.driver.execute_script("localStorage.setItem('adminTheme', JSON.stringify('dark'))")
    browser.open("/admin/")
    browser.shoot("overview_dark")
    browser.click(str(Invoice.objects.get().number))
    browser.click("Record payment")
    browser.waits_for("Amount (USD)")
    browser.shoot("record_payment_dark")
    browser.press("Record payment")
    browser.waits_for("The payment is recorded.")
    assert Invoice.objects.get().status == "paid"
    browser.shoot("invoice_paid_dark")
