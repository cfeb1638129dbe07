import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from aiohttp import web

from examples import calls
from examples.documents import Document
from examples.workload import Upload

UPLOADS = [
    Upload("acme", "capture", Document("receipt", b"", ()), b'{"image": ""}'),
    Upload("globex", "intake", Document("receipt", b"", ()), b'{"image":""}'),
]
KEYS = {"acme": "key-a", "globex": "key-g"}
HEADERS = {
    "Cache-Status": "zerorate; hit; ttl=1210; detail=exact",
    "x-zerorate-list-cost": "0.0001 EUR",
    "x-zerorate-cost": "0 EUR",
}


@pytest.fixture
async def gateway() -> AsyncIterator[str]:
    """A stand-in that knows one key."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers["Authorization"] != "Bearer key-a":
            return web.json_response({"error": "unknown key"}, status=401)
        return web.json_response({"text": (await request.json())["image"]}, headers=HEADERS)

    application = web.Application()
    application.router.add_post("/v1/predict/ocr", answer)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_answer_tells_outcome_cost_and_latency(gateway: str) -> None:
    seen: list[None] = []
    (answer,) = await calls.send(UPLOADS[:1], url=gateway, keys=KEYS, on_answer=lambda: seen.append(None))
    assert (answer.outcome, answer.is_hit, len(seen)) == ("exact", True, 1)
    assert (answer.list_cost, answer.cost) == (Decimal("0.0001"), Decimal(0))
    assert answer.latency_ms > 0


async def test_the_first_refusal_ends_it_and_says_which_call(gateway: str) -> None:
    with pytest.raises(calls.CallFailed, match=r"globex, receipt: 401 .*unknown key"):
        await asyncio.wait_for(calls.send(UPLOADS, url=gateway, keys=KEYS, on_answer=lambda: None), 30)


@pytest.mark.parametrize(
    ("cache_status", "expected"),
    [
        ("zerorate; hit; ttl=1210; detail=exact", "exact"),
        ("zerorate; hit; ttl=-1; detail=coalesced", "coalesced"),
        ("zerorate; fwd=miss; stored", "miss"),
        ("zerorate; fwd=bypass", "bypass"),
    ],
)
def test_the_outcome_is_read_from_cache_status(cache_status: str, expected: str) -> None:
    assert calls.outcome(cache_status) == expected
