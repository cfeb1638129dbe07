"""The paper of an expense department, drawn: receipts and forms as PNG images whose text is known.

What they say comes from `documents.yaml` and a seed: the same seed draws the same pixels. The font is the
one inside Pillow; amounts are exact decimals and add up. `python -m examples.documents DIRECTORY` writes
the images.
"""

import random
import sys
from collections.abc import Callable
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec

from examples.sheet import Sheet

CENT = Decimal("0.01")
FIRST_DAY = date(2026, 3, 2)
PAYMENTS = ("Paid by card", "Paid in cash", "Company card")
FAREWELLS = ("Thank you for your visit", "Please keep this receipt", "Goodbye and come again")


class Document(NamedTuple):
    """An image (PNG) and the strings that whoever reads it must find, whatever the layout."""

    name: str
    png: bytes
    facts: tuple[str, ...]


class Shop(msgspec.Struct, frozen=True):
    """A shop, the layout of its receipts and what it sells (`wares`: name → price, VAT included)."""

    name: str
    address: str
    currency: str
    vat_percent: int
    layout: str
    wares: dict[str, Decimal]


class Form(msgspec.Struct, frozen=True):
    """A company form: its fields, the head of its table, what its rows are about, and boxes to tick."""

    title: str
    fields: list[str]
    columns: list[str]
    entries: list[str]
    boxes: list[str]


class Paper(msgspec.Struct, frozen=True):
    """All of `documents.yaml`."""

    shops: list[Shop]
    forms: list[Form]
    field_values: dict[str, list[str]]
    people: list[str]


class Sale(NamedTuple):
    """A line of a receipt; `price` is per piece."""

    ware: str
    pieces: int
    price: Decimal

    @property
    def amount(self) -> Decimal:
        """Return pieces × price."""
        return self.pieces * self.price


class Receipt(NamedTuple):
    """What a receipt says, before it is laid out."""

    shop: Shop
    number: str
    day: str
    sales: list[Sale]

    @property
    def total(self) -> Decimal:
        """Return the sum of the sales."""
        return sum((sale.amount for sale in self.sales), Decimal(0))

    @property
    def vat(self) -> Decimal:
        """Return the tax inside the total, rounded half up to cents."""
        rate = Decimal(self.shop.vat_percent)
        return (self.total * rate / (100 + rate)).quantize(CENT, ROUND_HALF_UP)


PAPER = msgspec.yaml.decode(Path(__file__).with_name("documents.yaml").read_bytes(), type=Paper)


def receipts(*, seed: int) -> list[Document]:
    """Return one receipt of every shop."""
    return [_draw_receipt(shop, random.Random(f"{seed} {shop.name}")) for shop in PAPER.shops]


def forms(*, seed: int) -> list[Document]:
    """Return one filled copy of every form."""
    return [_draw_form(form, random.Random(f"{seed} {form.title}")) for form in PAPER.forms]


def missing_facts(document: Document, text: str) -> list[str]:
    """Return the facts of a document that a reading of it lacks; blanks and capitals do not count."""
    read = _squeezed(text)
    return [fact for fact in document.facts if _squeezed(fact) not in read]


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold()


def _slug(text: str) -> str:
    return text.lower().replace(" ", "-")


def _some_day(dice: random.Random) -> str:
    return (FIRST_DAY + timedelta(days=dice.randrange(60))).isoformat()


def _draw_receipt(shop: Shop, dice: random.Random) -> Document:
    receipt = _fill_receipt(shop, dice)
    wide = 160 if shop.layout == "table" else 0
    width, font_size = dice.choice((420, 460, 520)) + wide, dice.choice((19, 20, 22))
    sheet = Sheet(width=width, font_size=font_size, paper=dice.randint(236, 255))
    LAYOUTS[shop.layout](sheet, receipt)
    sheet.rule()
    sheet.pair("TOTAL", f"{shop.currency} {receipt.total}", scale=1.25)
    sheet.pair(f"incl. VAT {shop.vat_percent}%", str(receipt.vat))
    sheet.text(f"{dice.choice(PAYMENTS)}, till {dice.randint(1, 9)}")
    sheet.text(dice.choice(FAREWELLS), centred=True)
    wares = (sale.ware for sale in receipt.sales)
    facts = (shop.name, receipt.number, receipt.day, str(receipt.total), *wares)
    return Document(f"receipt-{_slug(shop.name)}", sheet.png(tilt_degrees=dice.uniform(-0.5, 0.5)), facts)


def _fill_receipt(shop: Shop, dice: random.Random) -> Receipt:
    wares = dice.sample(sorted(shop.wares.items()), dice.choice((3, 4)))
    sales = [Sale(ware, dice.choice((1, 1, 2, 3)), price) for ware, price in wares]
    number = f"{dice.randint(100, 999)}-{dice.randint(1000, 9999)}"
    return Receipt(shop, number, _some_day(dice), sales)


def _till(sheet: Sheet, receipt: Receipt) -> None:
    sheet.text(receipt.shop.name, centred=True, scale=1.4)
    sheet.text(receipt.shop.address, centred=True)
    sheet.rule(dashed=True)
    sheet.pair(f"No. {receipt.number}", receipt.day)
    sheet.rule(dashed=True)
    for sale in receipt.sales:
        sheet.pair(f"{sale.pieces} x {sale.ware}", str(sale.amount))


def _slip(sheet: Sheet, receipt: Receipt) -> None:
    shop = receipt.shop
    for line in (shop.name, shop.address, f"Date {receipt.day}", f"Slip {receipt.number}"):
        sheet.text(line)
    sheet.rule()
    for sale in receipt.sales:
        sheet.text(sale.ware)
        sheet.pair(f"   {sale.pieces} pcs at {sale.price}", str(sale.amount))


def _table(sheet: Sheet, receipt: Receipt) -> None:
    sheet.text(receipt.shop.name, scale=1.3)
    sheet.text(receipt.shop.address)
    sheet.pair(f"Invoice {receipt.number}", f"Date {receipt.day}")
    rows = [(sale.ware, str(sale.pieces), str(sale.price), str(sale.amount)) for sale in receipt.sales]
    sheet.table(("Article", "Qty", "Price", "Amount"), rows)


def _folio(sheet: Sheet, receipt: Receipt) -> None:
    sheet.band(receipt.shop.name)
    sheet.text(receipt.shop.address)
    sheet.pair("Folio", receipt.number)
    sheet.pair("Date", receipt.day)
    sheet.rule()
    for sale in receipt.sales:
        sheet.pair(f"{sale.ware} ({sale.pieces})", str(sale.amount), leader=True)


LAYOUTS: dict[str, Callable[[Sheet, Receipt], None]] = {
    "till": _till,
    "slip": _slip,
    "table": _table,
    "folio": _folio,
}


def _draw_form(form: Form, dice: random.Random) -> Document:
    number = f"F-{dice.randint(10000, 99999)}"
    values = [dice.choice(PAPER.field_values.get(label, PAPER.people)) for label in form.fields]
    amounts = [Decimal(dice.randint(400, 39999)) / 100 for _ in range(3)]
    rows = list(zip(dice.sample(form.entries, 3), map("{:.2f}".format, amounts), strict=True))
    total = f"{sum(amounts):.2f}"
    sheet = Sheet(
        width=dice.choice((640, 700)), font_size=dice.choice((18, 20)), paper=dice.randint(244, 255)
    )
    sheet.band(form.title)
    sheet.pair(f"Form {number}", f"Date {_some_day(dice)}")
    for label, value in zip(form.fields, values, strict=True):
        sheet.field(label, value)
    sheet.table(form.columns, [*rows, ("Sum", total)])
    for box in form.boxes:
        sheet.check_box(box, ticked=dice.random() < 0.5)
    sheet.field("Signature", dice.choice(PAPER.people))
    facts = (form.title, number, total, *values)
    return Document(f"form-{_slug(form.title)}", sheet.png(tilt_degrees=0), facts)


def main() -> None:
    """Write every document of seed 1 to the directory named on the command line."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for document in receipts(seed=1) + forms(seed=1):
        (directory / f"{document.name}.png").write_bytes(document.png)


if __name__ == "__main__":
    main()
