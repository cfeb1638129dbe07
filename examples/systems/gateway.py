"""The gateway as an example calls it: each call is held to the outcome that it must have, and kept for the table."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Any, NamedTuple

import aiohttp

from examples.calls import TIMEOUT, outcome

HITS = frozenset({"exact", "semantic", "coalesced"})


class Surprise(RuntimeError):
    """An answer is not what the example says that it is; the message has what came instead."""


class Answer(NamedTuple):
    """What one call brought: money in the plan's currency, latency until the last byte of the answer."""

    step: str
    outcome: str
    """As `Cache-Status` tells it; the HTTP status of a call that failed."""
    list_cost: Decimal
    cost: Decimal
    latency_ms: float
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_hit(self) -> bool:
        """Return whether nothing was computed for the call."""
        return self.outcome in HITS

    @property
    def saved(self) -> Decimal:
        """Return what the cache took off the list price."""
        return self.list_cost - self.cost


class Gateway:
    """A customer at the gateway; `answers` has what came, in the order in which it came."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.answers: list[Answer] = []
        self._session = session
        self._url = url

    async def ask(self, step: str, path: str, *, expected: str, **request: Any) -> Answer:
        """Post to a path (`json=`, `data=`, `headers=`, as aiohttp takes them) and return the answer.

        `step` says in words what is asked. `expected` is the outcome: one of several, parted by blanks; where the
        call is to fail, the HTTP status.

        Raises:
            Surprise: the outcome is another.
            aiohttp.ClientError: the gateway cannot be reached.
        """
        started = time.perf_counter()
        async with self._session.post(f"{self._url}{path}", **request) as response:
            body = await response.read()
        latency_ms = (time.perf_counter() - started) * 1000
        told = response.headers
        went_well = response.status == HTTPStatus.OK
        answer = Answer(
            step=step,
            outcome=outcome(told["Cache-Status"]) if went_well else str(response.status),
            list_cost=_amount(told, "x-zerorate-list-cost"),
            cost=_amount(told, "x-zerorate-cost"),
            latency_ms=latency_ms,
            headers=told,
            body=body,
        )
        if answer.outcome not in expected.split():
            said = body[:500].decode(errors="replace")
            raise Surprise(f"{step}: {response.status}, {told['Cache-Status']}, not {expected}\n{said}")
        self.answers.append(answer)
        return answer

    async def settled(self) -> None:
        """Return once the gateway has opened what its catalog wants for semantic hits."""
        while True:
            async with self._session.get(f"{self._url}/readyz") as response:
                if "semantic hits" not in await response.text():
                    return
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def customer(url: str, key: str) -> AsyncIterator[Gateway]:
    """Give a customer with an API key at the gateway at `url` (its root)."""
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(timeout=TIMEOUT, headers=headers) as session:
        yield Gateway(session, url)


def expect(*, that: bool, otherwise: str) -> None:
    """Do nothing where it holds.

    Raises:
        Surprise: it does not.
    """
    if not that:
        raise Surprise(otherwise)


def _amount(told: Mapping[str, str], name: str) -> Decimal:
    return Decimal(told.get(name, "0").split(maxsplit=1)[0])
