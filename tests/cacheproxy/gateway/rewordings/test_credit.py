"""From a wrong answer to the invoice that gives its charge back, through every part that there is."""

import asyncio
from typing import Any

import aiohttp
import msgspec
from django.db import connections
from django.utils import timezone

from billing.models import Invoice
from billing.selectors.verification import reconcile
from billing.services.periods import close_period
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.recording.wrong_hits import WRONG_HITS
from metering.periods import month_of
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.rewordings import process
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, Draw, Semantic, remembered
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer
from tests.faults.programs import free_port
from tests.stack import models_dir

USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000, "total_tokens": 2_000_000}
CREDITED = [("input", 1, -10), ("output", 1, -30)]


def closed() -> tuple[Invoice, list[tuple[Any, ...]]]:
    """Close the month that runs, and return its invoice and what it credits."""
    try:
        now = timezone.now()
        close_period(period=month_of(now), now=now, early=True)
        invoice = Invoice.objects.get()
        assert reconcile(period=None).agrees
        lines = invoice.lines.filter(kind="wrong_hit").values_list("pool", "calls", "net_minor")
        return invoice, list(lines)
    finally:
        connections.close_all()


async def proven(world: World) -> list[str]:
    """Wait for proofs, and return whose they are."""

    async def are_written() -> list[Any]:
        rows: list[Any] = await world.sql.fetch("SELECT event_id FROM metering_wronghit")
        return rows

    return [str(row["event_id"]) for row in await eventually(are_written, within_seconds=10)]


async def test_what_a_wrong_answer_cost_comes_back_on_the_invoice(
    client: Client, cast: Cast, world: World, upstream: FakeUpstream, draw: Draw
) -> None:
    draw.checks = True
    upstream.then(answer(chat_answer(usage=USAGE)))
    await client.chat(ASKED)
    await remembered(world)
    upstream.then(answer(chat_answer("That costs 12 euros.", usage=USAGE)))
    wrong = await client.chat(REWORDED)
    assert wrong.headers["x-zerorate-cost"] == "0.4 USD"

    assert await proven(world) == [wrong.headers["x-request-id"]]
    invoice, lines = await asyncio.to_thread(closed)
    assert lines == CREDITED
    assert (invoice.list_minor, invoice.discount_minor, invoice.net_minor) == (400, 200, 200)


async def test_a_proof_outlives_the_gateway_that_is_killed_before_postgresql_is_back(
    gateway_settings: GatewaySettings,
    wires: Wires,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    semantic: Semantic,
    redis: Any,
) -> None:
    """PostgreSQL away, proven wrong, kill -9, PostgreSQL back: another gateway writes it, and it is credited, once."""
    settings = msgspec.structs.replace(wires.gateway_settings, models_dir=str(models_dir()))
    killed = GatewayProcess(settings, free_port(), module=process.__name__)
    await killed.start()
    client = Client(session, killed.url, cast.acme.key)
    upstream.then(answer(chat_answer(usage=USAGE)))
    await client.chat(ASKED)
    await remembered(world)
    upstream.then(answer(chat_answer("That costs 12 euros.", usage=USAGE), delay_seconds=0.3))
    wrong = await client.chat(REWORDED)
    assert wrong.headers["cache-status"].endswith("detail=semantic")
    wires.postgres.cut()
    await eventually(lambda: redis.xlen(WRONG_HITS.stream))
    await killed.kill()
    assert not await world.sql.fetch("SELECT * FROM metering_wronghit")

    wires.postgres.mend()
    async with serving(gateway_settings, open_tier=semantic.open):
        assert await proven(world) == [wrong.headers["x-request-id"]]
    assert not await redis.xlen(WRONG_HITS.stream)
    assert len(await proven(world)) == 1
    invoice, lines = await asyncio.to_thread(closed)
    assert lines == CREDITED
    assert invoice.net_minor == 200
