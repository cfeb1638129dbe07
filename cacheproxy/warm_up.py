"""Sends requests through the gateway so that their answers are in the cache before anybody waits for them. No Django.

They are ordinary calls, a bounded number at once. What was done is noted in a file, so that a warm-up that was broken
off goes on where it was.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import aiohttp

from cacheproxy.errors import UnfitRequests

AGENT = "zerorate-warm-cache"
"""By which the gateway knows that nobody asked this once more."""
TIMEOUT_SECONDS = 600.0
MAX_ATTEMPTS = 5
MAX_WAIT_SECONDS = 60.0
BUSY = frozenset({429, 503})
_HEX_DIGITS = 64

End = Literal["hit", "miss", "failed"]


class Request(NamedTuple):
    """A request as it is sent."""

    path: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        """Return the digest by which it is known to be done."""
        return sha256(json.dumps([self.path, sorted(self.headers.items())]).encode() + self.body).hexdigest()


class Outcome(NamedTuple):
    """What came of a request, and why it failed."""

    end: End
    problem: str = ""


class Progress:
    """The requests that are done, in a file of one digest a line."""

    def __init__(self, path: Path) -> None:
        """Go on where *path* ends, if it is there; a line that was broken off is done again."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.read_text().split() if path.exists() else []
        self._done = {name for name in known if len(name) == _HEX_DIGITS}
        self._file = path.open("a")
        if known:
            self._file.write("\n")

    def is_done(self, request: Request) -> bool:
        """Return whether the request was answered before."""
        return request.name in self._done

    def note(self, request: Request) -> None:
        """Note that it was answered."""
        self._file.write(f"{request.name}\n")
        self._file.flush()

    def close(self, *, finished: bool) -> None:
        """Keep the file for another time, or begin anew then."""
        self._file.close()
        if finished:
            self._path.unlink()


def read_requests(lines: Iterable[str]) -> Iterator[Request]:
    """Yield the requests of lines of JSON as OpenAI's batch files have them: ``url`` and ``body``; ``headers`` if any.

    Raises:
        UnfitRequests: a line is no such object; the message names it.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _read(json.loads(line))
            except (ValueError, TypeError, KeyError) as problem:
                raise UnfitRequests(
                    f"Line {number} is no request ({problem}): write "
                    '{"url": "/v1/chat/completions", "body": {…}}, one a line.'
                ) from problem


async def warm_up(
    requests: Iterable[Request],
    *,
    url: str,
    key: str,
    concurrency: int,
    progress: Progress,
    told: Callable[[Outcome], None],
) -> Counter[End]:
    """Send those of *requests* that are not done yet, *concurrency* at once; return what came of them.

    *told* hears of each as it ends. What failed is tried again by the next warm-up.
    """
    ends: Counter[End] = Counter()
    rest = iter([request for request in requests if not progress.is_done(request)])

    async def work(session: aiohttp.ClientSession) -> None:
        for request in rest:
            outcome = await send(session, url + request.path, request)
            if outcome.end != "failed":
                progress.note(request)
            ends[outcome.end] += 1
            told(outcome)

    async with _session(key) as session, asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(work(session))
    return ends


async def send(session: aiohttp.ClientSession, url: str, request: Request) -> Outcome:
    """Send one request, again where the gateway says that it is too busy, and return what came of it."""
    problem = ""
    for attempt in range(MAX_ATTEMPTS):
        try:
            async with session.post(url, data=request.body, headers=request.headers) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as failure:
            return Outcome("failed", str(failure) or type(failure).__name__)
        if response.status == 200:
            status = response.headers.get("cache-status", "")
            return Outcome("hit" if "; hit" in status else "miss")
        problem = f"{response.status} {body[:200].decode(errors='replace')}"
        if response.status not in BUSY or response.headers.get("x-should-retry") == "false":
            break
        await asyncio.sleep(
            min(_seconds(response.headers.get("retry-after")) or 2**attempt, MAX_WAIT_SECONDS)
        )
    return Outcome("failed", problem)


@asynccontextmanager
async def _session(key: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": f"Bearer {key}", "user-agent": AGENT}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield session


def _read(line: Any) -> Request:
    path, body, headers = line["url"], line["body"], line.get("headers", {})
    if not (isinstance(path, str) and path.startswith("/v") and isinstance(body, dict)):
        raise TypeError("url is a path, body an object")
    stated = {str(name).lower(): str(value) for name, value in headers.items()}
    return Request(path, json.dumps(body).encode(), {"content-type": "application/json", **stated})


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None
