"""From a wrong answer to the invoice that gives its charge back, through every part that there is."""

import asyncio
from typing import Any

from django.db import connections
from django.utils import timezone

from billing.models import Invoice
from billing.selectors.verification import reconcile
from billing.services.periods import close_period
from metering.periods import month_of
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, Draw, remembered
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import FakeUpstream, answer, chat_answer

USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000, "total_tokens": 2_000_000}


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

    async def is_proven() -> bool:
        return bool(await world.sql.fetchval("SELECT count(*) FROM metering_wronghit"))

    await eventually(is_proven)
    invoice, lines = await asyncio.to_thread(closed)
    assert lines == [("input", 1, -10), ("output", 1, -30)]
    assert (invoice.list_minor, invoice.discount_minor, invoice.net_minor) == (400, 200, 200)
