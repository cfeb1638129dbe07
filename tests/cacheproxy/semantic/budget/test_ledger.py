"""Budgets that several gateways share."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.budget.budget import Budget
from cacheproxy.semantic.budget.ledger import Ledger
from cacheproxy.semantic.budget.rules import CELLS, Rules, region_of
from tests.cacheproxy.gateway.world import eventually

SURE = region_of(0, 0.995)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def ledger_of(settings: GatewaySettings, **options: Any) -> Ledger:
    return Ledger(settings, lambda: NOW, draw=random.Random(1), **options)


@pytest.fixture
async def ledger(settings: GatewaySettings, sql: Any) -> AsyncIterator[Callable[[], Ledger]]:
    """Give ledgers of processes that only exchange when told to."""
    await sql.execute("TRUNCATE cacheproxy_semanticbudget")
    async with AsyncExitStack() as stack:

        def another() -> Ledger:
            made = ledger_of(settings)
            stack.push_async_callback(made.stop)
            return made

        yield another
    await sql.execute("TRUNCATE cacheproxy_semanticbudget")


def budget_of(ledger: Ledger, rules: Rules | None = None) -> Budget:
    return ledger.budget("qwen-small", "1", rules or Rules())


async def test_all_know_what_any_found(ledger: Callable[[], Ledger]) -> None:
    here, there = ledger(), ledger()
    for _ in range(10):
        budget_of(here).decide(SURE)
        budget_of(here).checked(SURE, wrong=False)
        budget_of(there).decide(None)
        budget_of(there).checked(SURE, wrong=True)
    assert budget_of(here).account.opens(SURE)
    await here.exchange()
    await there.exchange()
    await here.exchange()
    for each in (here, there):
        state = budget_of(each).account.state
        assert not budget_of(each).account.opens(SURE)
        assert state.lookups == pytest.approx(20, rel=0.01)
        assert state.candidates == pytest.approx(10, rel=0.01)
    assert budget_of(here).account.state == budget_of(there).account.state


async def test_a_new_process_and_another_version_begin_where_they_should(
    ledger: Callable[[], Ledger],
) -> None:
    here = ledger()
    for _ in range(20):
        budget_of(here).checked(SURE, wrong=True)
    await here.exchange()
    late = ledger()
    assert budget_of(late).account.opens(SURE)
    await late.exchange()
    assert not budget_of(late).account.opens(SURE)
    assert here.budget("qwen-small", "2", Rules()).account.opens(SURE)


async def test_a_row_that_was_deleted_begins_anew(ledger: Callable[[], Ledger], sql: Any) -> None:
    here = ledger()
    for _ in range(20):
        budget_of(here).checked(SURE, wrong=True)
    await here.exchange()
    await sql.execute("DELETE FROM cacheproxy_semanticbudget")
    await here.exchange()
    assert budget_of(here).account.opens(SURE)


async def test_other_rules_judge_what_is_known(ledger: Callable[[], Ledger]) -> None:
    here = ledger()
    for _ in range(20):
        budget_of(here).checked(SURE, wrong=False)
    strict = budget_of(here, Rules(wrong_of_hits=0.01, trust=0))
    assert strict.account.state.proof.checks == 20
    assert strict.account.state.shut


async def test_findings_wait_while_the_database_is_away(settings: GatewaySettings, sql: Any) -> None:
    nowhere = msgspec.structs.replace(settings, database_url="postgresql://nobody@127.0.0.1:1/nothing")
    ledger = ledger_of(nowhere)
    for _ in range(20):
        budget_of(ledger).checked(SURE, wrong=True)
    await ledger.exchange()
    assert not budget_of(ledger).account.opens(SURE)
    assert len(budget_of(ledger).take_news().checks) == 20
    await ledger.stop()


async def test_exchange_goes_on_by_itself_and_tells_the_log_of_a_shut_off(
    settings: GatewaySettings, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await sql.execute("TRUNCATE cacheproxy_semanticbudget")
    here, there = ledger_of(settings, seconds=0.01), ledger_of(settings, seconds=0.01)
    budget_of(there)
    for number in range(1000):
        budget_of(here).checked(region_of(number % CELLS, 0.995), wrong=number >= 990)
    await here.start()
    await there.start()

    async def heard() -> bool:
        return budget_of(there).account.state.shut

    try:
        await eventually(heard, within_seconds=10)
    finally:
        await here.stop()
        await there.stop()
    assert "Semantic hits of qwen-small are shut off" in caplog.text
    await sql.execute("TRUNCATE cacheproxy_semanticbudget")
