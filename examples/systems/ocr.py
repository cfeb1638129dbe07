"""PP-OCR behind the gateway: images in any form, numbers that are not kept; see docs/systems."""

import asyncio
import base64
import io
import json
from typing import Any

import aiohttp
from PIL import Image

from examples import documents
from examples.documents import Document
from examples.sheet import Sheet
from examples.systems.gateway import Answer, Gateway, expect
from examples.systems.system import Server, System

READ = "/v1/predict/pages"
IDENTITY, CARD = "11010519491231002X", "4111 1111 1111 1111"
"""Numbers with the right check digits, of nobody."""


async def calls(gateway: Gateway) -> None:
    """Send the same pages as different programs do, and one that says who somebody is."""
    receipt, form, *_ = [*documents.receipts(seed=1)[:1], *documents.forms(seed=1)]
    await _forms(gateway, receipt)
    await _others(gateway, receipt.png)
    await _at_once(gateway, form.png)
    await _sensitive(gateway, registration())


async def _forms(gateway: Gateway, receipt: Document) -> None:
    asked = {"image": _base64(receipt.png), "request_id": "a-1", "client": "scanner"}
    first = await gateway.ask("a receipt, base64 in JSON", READ, expected="miss", json=asked)
    missing = documents.missing_facts(receipt, _text(first))
    expect(that=not missing, otherwise=f"PP-OCR did not read {missing}")
    again = [
        await gateway.ask(
            "again, as a data URL", READ, expected="exact", json=_url(receipt.png, sent_at="9:41")
        ),
        await gateway.ask("again, as a form", READ, expected="exact", data=_form(receipt.png)),
        await gateway.ask("again, the bare file", READ, expected="exact", **_bare(receipt.png)),
    ]
    expect(that={answer.body for answer in again} == {first.body}, otherwise="the stored answer is another")


async def _others(gateway: Gateway, png: bytes) -> None:
    await gateway.ask("with a field that may decide", READ, expected="miss", json=_url(png, language="en"))
    jpeg = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(jpeg, "JPEG")
    await gateway.ask("the same page as JPEG", READ, expected="miss", **_bare(jpeg.getvalue(), "image/jpeg"))
    for _ in "ab":
        await gateway.ask("half of the file, refused", READ, expected="400", **_bare(png[: len(png) // 2]))


async def _at_once(gateway: Gateway, png: bytes) -> None:
    requests: list[dict[str, Any]] = [{"json": _url(png)}, {"data": _form(png)}, _bare(png)]
    at_once = [
        gateway.ask("three forms at once", READ, expected="miss coalesced exact", **request)
        for request in requests
    ]
    computed = [answer.outcome for answer in await asyncio.gather(*at_once)].count("miss")
    expect(that=computed == 1, otherwise=f"of three programs with one page at once {computed} were computed")


async def _sensitive(gateway: Gateway, page: bytes) -> None:
    for _ in "ab":
        whole = await gateway.ask("an identity: never kept", READ, expected="miss", json=_url(page))
        expect(that=_numbers(whole) == (True, True), otherwise=f"PP-OCR read {_text(whole)}")
        expect(that="stored" not in whole.headers["Cache-Status"], otherwise="an identity was kept")
    asked = _url(page, purpose="index")
    first = await gateway.ask("for the index: kept, masked", READ, expected="miss", json=asked)
    masked = await gateway.ask("again", READ, expected="exact", json=asked)
    expect(that=_numbers(first) == (True, True), otherwise="who asks first gets the page as it is")
    expect(that=_numbers(masked) == (False, False), otherwise=f"kept was {_text(masked)}")


def registration() -> bytes:
    """Return the picture of a page with a resident's number and a card's."""
    sheet = Sheet(width=640, font_size=22, paper=250)
    sheet.band("Guest registration")
    sheet.field("Name", "Ines Vogel")
    sheet.field("Identity number", IDENTITY)
    sheet.field("Card", CARD)
    return sheet.png(tilt_degrees=0)


def _numbers(answer: Answer) -> tuple[bool, bool]:
    """Return whether an answer has the resident's number, and the card's."""
    told = "".join(answer.body.decode().split())
    return IDENTITY in told, "".join(CARD.split()) in told


def _text(answer: Answer) -> str:
    return str(json.loads(answer.body)["text"])


def _url(png: bytes, **fields: str) -> dict[str, str]:
    return {"image": f"data:image/png;base64,{_base64(png)}", **fields}


def _form(png: bytes) -> aiohttp.FormData:
    form = aiohttp.FormData({"request_id": "b-2"})
    form.add_field("image", png, filename="scan.png", content_type="image/png")
    return form


def _bare(image: bytes, content_type: str = "image/png") -> dict[str, Any]:
    return {"data": image, "headers": {"Content-Type": content_type}}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


SYSTEM = System(
    title="Documents read by PP-OCR",
    catalog="ocr.yaml",
    servers=(Server("ocr_server", 9100),),
    tenant="records",
    calls=calls,
)
