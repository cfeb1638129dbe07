"""A headless Chromium, and a house with something in it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from billing.models import Invoice, Plan
from billing.services.invoicing import draft_invoice, finalise_invoice
from metering.models import UsageConflict
from metering.periods import month_of, previous_month
from metering.services.rollups import roll_up
from metering.usage_event import UsageEvent
from tenants.models import Member, Tenant, User
from tenants.services import issue_key
from tests.factories.billing import PlanFactory, PriceFactory, SubscriptionFactory
from tests.factories.tenants import TenantFactory
from tests.factories.usage import record, usage_event

SHOTS = settings.ROOT / "var" / "browser"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)
PRICES = {"input": "0.50", "cache_read": "0.05", "output": "1.50"}


class Browser:
    """What a person at the screen does and sees."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str) -> None:
        """Go to an address of the server's."""
        self.driver.get(self.url + path)

    def sign_in(self) -> None:
        """Sign in as the operator."""
        self.open("/admin/")
        self.driver.find_element(By.NAME, "username").send_keys("operator")
        self.driver.find_element(By.NAME, "password").send_keys("secret")
        self.driver.find_element(By.CSS_SELECTOR, "[type=submit]").click()
        self.waits_for("Open invoices")

    def click(self, text: str) -> None:
        """Follow the link with that text, once there is one."""
        self._waiting().until(lambda driver: driver.find_element(By.PARTIAL_LINK_TEXT, text)).click()

    def press(self, text: str) -> None:
        """Press the button with that text."""
        self.driver.find_element(By.XPATH, f"//form//button[normalize-space()='{text}']").click()

    def waits_for(self, text: str) -> None:
        """Wait until the page shows some text."""
        self._waiting().until(lambda _: text in self.text)

    def _waiting(self) -> WebDriverWait[webdriver.Chrome]:
        return WebDriverWait(self.driver, 10, ignored_exceptions=[StaleElementReferenceException])

    @property
    def text(self) -> str:
        """Return the visible text."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page, and refuse what the console complained of."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        self.driver.set_window_size(1400, max(1000, height + 250))
        self.driver.save_screenshot(str(SHOTS / f"{name}.png"))
        self.driver.set_window_size(1400, 1000)
        complaints = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        assert [said for said in complaints if said["level"] == "SEVERE"] == []


@pytest.fixture
def browser(live_server: LiveServer, tmp_path: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield Browser(driver, live_server.url)
    driver.quit()


@pytest.fixture
def house(live_db: str) -> Tenant:
    """Give a tenant with two months of usage, an invoice for the first, and an operator."""
    User.objects.create_superuser("operator", password="secret")
    now = timezone.now()
    plan, tenant = priced_plan(), TenantFactory.create(slug="acme", name="Acme Ltd")
    SubscriptionFactory.create(tenant=tenant, plan=plan)
    Member.objects.create(tenant=tenant, user=User.objects.create_user("ann"), role="finance")
    issue_key(tenant=tenant, name="production", now=now)
    second = TenantFactory.create(slug="beta", name="Beta GmbH")
    SubscriptionFactory.create(tenant=second, plan=plan)
    use_for_two_months(tenant, now, daily=9)
    use_for_two_months(second, now, daily=2)
    UsageConflict.objects.create(
        tenant=tenant, event_id=UUID(int=7), recorded_digest=b"1" * 32, refused_digest=b"2" * 32, refused={}
    )
    roll_up(now=now)
    finalise_last_month(tenant, now)
    return tenant


def priced_plan() -> Plan:
    plan = PlanFactory.create(name="standard")
    for pool, amount in PRICES.items():
        PriceFactory.create(plan=plan, model="qwen-small", pool=pool, amount=Decimal(amount))
    PriceFactory.create(plan=plan, model="ocr", pool="units", amount=Decimal("0.01"), per=1)
    return plan


def finalise_last_month(tenant: Tenant, now: datetime) -> Invoice:
    draft = draft_invoice(tenant=tenant, period=previous_month(now), now=now)
    assert draft is not None
    return finalise_invoice(invoice=draft, now=now)


def use_for_two_months(tenant: Tenant, now: datetime, *, daily: int) -> None:
    """Record a working life: misses, and ever more hits on them."""
    day, events = previous_month(now).start + timedelta(hours=9), []
    while day < min(now, month_of(now).end):
        for number in range(daily + day.day % 4):
            events += calls_of(tenant, day + timedelta(minutes=number), number, day.day)
        day += timedelta(days=1)
    record(events)


def calls_of(tenant: Tenant, at: datetime, number: int, day: int) -> list[UsageEvent]:
    counts = {"input": 1_200_000 + 40_000 * number, "cache_read": 300_000, "output": 210_000 + 3_000 * day}
    miss = usage_event(tenant.pk, occurred_at=at, model="qwen-small", **counts)
    outcome = "coalesced" if number % 5 == 1 else "exact"
    hits = [
        usage_event(
            tenant.pk,
            occurred_at=at + timedelta(seconds=1 + hit),
            model="qwen-small",
            outcome=outcome,
            source_event=miss.event_id,
            **counts,
        )
        for hit in range(day % 3 + 1)
    ]
    page = usage_event(tenant.pk, occurred_at=at, model="ocr", input=0, output=0, units=3 + number)
    return [miss, *hits, page]
