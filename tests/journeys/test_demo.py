"""`make demo`, run as it stands and its papers recomputed by hand."""

import csv
import re
import subprocess
import sys
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pypdf
import pytest
import yaml

from examples.stack import ROOT

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]

CATALOG = yaml.safe_load((ROOT / "examples" / "catalogs" / "demo.yaml").read_text())
PLANS = {plan["name"]: plan for plan in CATALOG["plans"]}
PLAN_OF = {tenant["slug"]: PLANS[tenant["plan"]] for tenant in CATALOG["tenants"]}
TENANTS = sorted(PLAN_OF)
FIGURE = re.compile(r"[\d,.]+")


class Demo(NamedTuple):
    folder: Path
    printed: str

    def row(self, name: str) -> dict[str, Decimal]:
        """Return a row of the table: the figure of each tenant and the total."""
        (line,) = (line for line in self.printed.splitlines() if line.startswith(f"{name}  "))
        figures = [Decimal(figure.replace(",", "")) for figure in FIGURE.findall(line.removeprefix(name))]
        return dict(zip([*TENANTS, "total"], figures, strict=True))

    def usage(self, tenant: str) -> list[dict[str, str]]:
        (path,) = self.folder.glob(f"{tenant}-usage-*.csv")
        with path.open(newline="") as rows:
            return list(csv.DictReader(rows))

    def invoice(self, tenant: str, suffix: str) -> Path:
        (path,) = self.folder.glob(f"{tenant}-INV-*.{suffix}")
        return path


@pytest.fixture(scope="module")
def demo(folder: Path) -> Demo:
    command = [sys.executable, "-m", "examples.demo", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(folder, done.stdout)


@pytest.mark.parametrize("tenant", TENANTS)
def test_the_invoice_is_what_the_usage_costs_by_hand(demo: Demo, tenant: str) -> None:
    prices, discounts = PLAN_OF[tenant]["prices"][0], PLAN_OF[tenant]["hit_discounts"]
    listed: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    charged: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for call in demo.usage(tenant):
        for pool in ("input", "output"):
            amount = int(call[pool]) * Decimal(prices[pool]) / 1_000_000
            listed[pool, call["outcome"]] += amount
            charged[pool, call["outcome"]] += (
                amount * (100 - Decimal(discounts.get(call["outcome"], "0"))) / 100
            )
    assert demo.row("List price")[tenant] == _settled(listed)
    assert demo.row("Charged")[tenant] == _settled(charged)
    assert demo.row("Saved")[tenant] == _settled(listed) - _settled(charged)


def _settled(lines: dict[tuple[str, str], Decimal]) -> Decimal:
    return sum((line.quantize(Decimal("0.01"), ROUND_HALF_UP) for line in lines.values()), Decimal(0))


@pytest.mark.parametrize("tenant", TENANTS)
def test_the_usage_csv_sums_to_the_table(demo: Demo, tenant: str) -> None:
    calls = demo.usage(tenant)
    hits = [call for call in calls if call["outcome"] in {"exact", "coalesced"}]
    assert demo.row("Calls")[tenant] == len(calls)
    assert demo.row("Hits")[tenant] == len(hits)
    assert demo.row("Tokens served")[tenant] == sum(
        int(call["input"]) + int(call["output"]) for call in calls
    )
    computed = [call for call in calls if call not in hits]
    assert demo.row("Tokens computed")[tenant] == sum(int(c["input"]) + int(c["output"]) for c in computed)
    assert sum(Decimal(call["charged"]) + Decimal(call["saved"]) for call in calls) == sum(
        Decimal(call["list"]) for call in calls
    )


@pytest.mark.parametrize("tenant", TENANTS)
def test_the_invoice_on_paper_has_the_number_and_the_totals(demo: Demo, tenant: str) -> None:
    path = demo.invoice(tenant, "pdf")
    text = "".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
    html = demo.invoice(tenant, "html").read_text()
    number = path.stem.removeprefix(f"{tenant}-")
    figures = [str(demo.row(name)[tenant]) for name in ("List price", "Charged", "Saved")]
    for paper in (text, html):
        assert [said for said in (number, *figures) if said not in paper] == []


def test_hits_of_the_standard_plan_cost_nothing_and_are_shown(demo: Demo) -> None:
    hits = [call for call in demo.usage("acme") if call["outcome"] != "miss"]
    assert hits
    assert {Decimal(call["charged"]) for call in hits} == {0}
    assert all(Decimal(call["saved"]) == Decimal(call["list"]) > 0 for call in hits)
    text = "".join(page.extract_text() for page in pypdf.PdfReader(demo.invoice("acme", "pdf")).pages)
    assert "cache hit" in text
    assert "0.00" in text


def test_the_tokens_to_pay_for_fall_by_sixty_percent_and_hits_are_fast(demo: Demo) -> None:
    assert demo.row("Fewer tokens charged")["total"] >= 60
    assert demo.row("Fewer tokens charged")["acme"] >= 60
    assert demo.row("p50 of hits")["total"] < 10
    assert demo.row("p50 of hits")["total"] < demo.row("p50 of misses")["total"]


def test_every_invoice_was_verified(demo: Demo) -> None:
    for tenant in TENANTS:
        number = demo.invoice(tenant, "pdf").stem.removeprefix(f"{tenant}-")
        assert f"{number} agrees with its events" in demo.printed


def test_nothing_is_left_running_nor_of_its_data(demo: Demo) -> None:
    assert not list(demo.folder.glob("stack-*"))
    assert [
        process.info for process in psutil.process_iter(["cmdline"]) if _names(process, demo.folder)
    ] == []


def _names(process: Any, folder: Path) -> bool:
    return any(str(folder) in word for word in process.info["cmdline"] or [])
