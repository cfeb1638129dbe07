"""Plain HTTP to a real LitServe server through `/v1/predict`: JSON, forms and raw images."""

import base64
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from examples import child
from tests.clients.stage import Stage, Told, expect_hit, expect_miss

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module", autouse=True)
def _server(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    log: Path = tmp_path_factory.mktemp("predict") / "server.log"
    command = ["-m", "tests.clients.predict_server", "--port", str(stage.predict_port)]
    with child.running(command, ready_url=f"http://127.0.0.1:{stage.predict_port}/health", log=log):
        yield


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (width, height, 0)).save(content, kind)
    return content.getvalue()


def form(content: bytes, name: str) -> aiohttp.FormData:
    made = aiohttp.FormData({"threshold": "0.5"})
    made.add_field("image", content, filename=name, content_type="image/png")
    return made


def sent(way: str, content: bytes, name: str) -> dict[str, Any]:
    """Return what to post; the name decides nothing."""
    match way:
        case "json":
            return {"json": {"image": base64.b64encode(content).decode()}}
        case "form":
            return {"data": form(content, name)}
        case _:
            return {"data": content, "headers": {"content-type": "image/png"}}


async def ask(session: aiohttp.ClientSession, url: str, key: str, posted: dict[str, Any]) -> tuple[Told, Any]:
    headers = {"authorization": f"Bearer {key}", **posted.pop("headers", {})}
    async with session.post(url, headers=headers, **posted) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Told(response.status, headers), await response.json()


@pytest.mark.parametrize("way", ["json", "form", "raw"])
async def test_an_image_is_measured_once(stage: Stage, session: aiohttp.ClientSession, way: str) -> None:
    content = picture(7, 5)
    straight = f"http://127.0.0.1:{stage.predict_port}/{way}"
    _, told = await ask(session, straight, stage.key, sent(way, content, "a.png"))
    url = f"{stage.url}/v1/predict/measure-{way}"
    first, answer = await ask(session, url, stage.key, sent(way, content, "a.png"))
    again, repeated = await ask(session, url, stage.key, sent(way, content, "b.png"))
    assert answer == repeated == told == {"width": 7, "height": 5, "usage": answer["usage"]}
    miss = expect_miss(stage, first)
    expect_hit(stage, again, miss)
    assert (miss.input, miss.output, miss.quality) == (35, 2, "reported")
    other, answer = await ask(session, url, stage.key, sent(way, picture(6, 5), "a.png"))
    assert answer["width"] == 6
    assert expect_miss(stage, other).input == 30


async def test_what_the_server_refuses_comes_as_it_is(stage: Stage, session: aiohttp.ClientSession) -> None:
    before = stage.event_count()
    for path, status in (("measure-raw", 422), ("measure-json", 500), ("unheard-of", 404)):
        posted: dict[str, Any] = {"json": {"picture": 1}}
        told, answer = await ask(session, f"{stage.url}/v1/predict/{path}", stage.key, posted)
        assert told.status == status, answer
    assert stage.event_count() == before
