"""The calls of the workload, made over HTTP as customers make them, and what came back."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import NamedTuple

import aiohttp

from examples.workload import Upload

TIMEOUT = aiohttp.ClientTimeout(total=120)


class CallFailed(RuntimeError):
    """The gateway answered with an error; the message has the call, the status and the body."""


class Answer(NamedTuple):
    """What one call brought: money in the plan's currency, latency until the last byte of the answer."""

    upload: Upload
    outcome: str
    latency_ms: float
    list_cost: Decimal
    cost: Decimal
    text: str

    @property
    def is_hit(self) -> bool:
        """Return whether the answer came without a call of the upstream for it."""
        return self.outcome not in {"miss", "bypass"}


async def send(
    uploads: Sequence[Upload], *, url: str, keys: Mapping[str, str], on_answer: Callable[[], object]
) -> list[Answer]:
    """Make the calls at `url` (the root of the gateway), one after the other, each with its tenant's key.

    Raises:
        CallFailed: at the first answer that is not a 200.
        aiohttp.ClientError: the gateway cannot be reached.
    """
    answers = []
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        for upload in uploads:
            answers.append(await _send_one(session, upload, url, keys[upload.tenant]))
            on_answer()
    return answers


async def _send_one(session: aiohttp.ClientSession, upload: Upload, url: str, key: str) -> Answer:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    started = time.perf_counter()
    async with session.post(f"{url}/v1/predict/ocr", data=upload.body, headers=headers) as response:
        body = await response.read()
        latency_ms = (time.perf_counter() - started) * 1000
    if response.status != HTTPStatus.OK:
        call = f"{upload.tenant}, {upload.document.name}"
        raise CallFailed(f"{call}: {response.status} {body[:500].decode(errors='replace')}")
    return Answer(
        upload=upload,
        outcome=outcome(response.headers["Cache-Status"]),
        latency_ms=latency_ms,
        list_cost=_amount(response.headers["x-zerorate-list-cost"]),
        cost=_amount(response.headers["x-zerorate-cost"]),
        text=json.loads(body)["text"],
    )


def outcome(cache_status: str) -> str:
    """Return the outcome that a `Cache-Status` of the gateway tells (`exact`, `miss` and so on)."""
    parameters = dict(part.strip().partition("=")[::2] for part in cache_status.split(";")[1:])
    return parameters["detail"] if "hit" in parameters else parameters["fwd"]


def _amount(cost: str) -> Decimal:
    return Decimal(cost.split(maxsplit=1)[0])
