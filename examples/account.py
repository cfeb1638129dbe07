"""What a customer sees of its own account, over the API and with its API key."""

import json
import urllib.error
import urllib.request
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

COMPUTED = frozenset({"miss", "bypass"})


class DownloadFailed(RuntimeError):
    """The API did not answer with 200; the message has the address, the status and the body."""


class Bill(NamedTuple):
    """An invoice as the API tells it: money exact in the line, settled in minor units in the total."""

    number: str
    currency: str
    list_minor: int
    charged_minor: int
    saved_minor: int
    lines: list[dict[str, Any]]

    @property
    def calls(self) -> dict[str, int]:
        """Return the calls by outcome; every call has an input, so its lines count them all."""
        return {line["outcome"]: line["calls"] for line in self.lines if line["pool"] == "input"}

    @property
    def tokens_served(self) -> int:
        """Return the tokens of all answers."""
        return sum(line["quantity"] for line in self.lines)

    @property
    def tokens_computed(self) -> int:
        """Return the tokens that the upstream worked for."""
        return sum(line["quantity"] for line in self.lines if line["outcome"] in COMPUTED)

    @property
    def tokens_charged(self) -> Decimal:
        """Return the tokens to pay for: one discounted by p percent counts 1 − p/100."""
        shares = (line["quantity"] * (100 - Decimal(line["discount_percent"])) for line in self.lines)
        return sum(shares, Decimal(0)) / 100

    @property
    def charged_exactly(self) -> Decimal:
        """Return the charge before it was rounded line by line."""
        return sum((Decimal(line["charged_accrued"]) for line in self.lines), Decimal(0))


def download(url: str, key: str) -> bytes:
    """Return what the API has at the address.

    Raises:
        DownloadFailed: it refuses or fails.
    """
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            if response.status != HTTPStatus.OK:
                raise DownloadFailed(f"{url}: {response.status}")
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        with error:
            raise DownloadFailed(f"{url}: {error.code} {error.read().decode(errors='replace')}") from error


def fetch_bill(url: str, key: str) -> Bill:
    """Return the customer's only invoice from the stack at `url`.

    Raises:
        DownloadFailed: there is none, or more than one.
    """
    listed = json.loads(download(f"{url}/api/v1/invoices", key))["results"]
    if len(listed) != 1:
        raise DownloadFailed(f"one invoice was expected, there are {len(listed)}")
    invoice = json.loads(download(f"{url}/api/v1/invoices/{listed[0]['number']}", key))
    minor = {name: invoice[name]["amount_minor"] for name in ("list", "charged", "saved")}
    return Bill(
        number=invoice["number"],
        currency=invoice["currency"],
        list_minor=minor["list"],
        charged_minor=minor["charged"],
        saved_minor=minor["saved"],
        lines=invoice["lines"],
    )


def download_papers(url: str, key: str, *, tenant: str, number: str, month: str, folder: Path) -> list[Path]:
    """Write the invoice as PDF and HTML and the month's usage as CSV to the folder; return their paths."""
    papers = {
        folder / f"{tenant}-{number}.pdf": f"invoices/{number}.pdf",
        folder / f"{tenant}-{number}.html": f"invoices/{number}.html",
        folder / f"{tenant}-usage-{month}.csv": f"usage.csv?month={month}",
    }
    for path, address in papers.items():
        path.write_bytes(download(f"{url}/api/v1/{address}", key))
    return list(papers)
