"""Entries on their way into the store, off every call's way."""

import asyncio
import logging
from collections import deque
from itertools import islice

from cacheproxy.gateway.tasks import end
from cacheproxy.semantic.errors import StoreAway
from cacheproxy.semantic.store import Entry, Store

logger = logging.getLogger(__name__)

MAX_WAITING = 1000
BATCH_ENTRIES = 64
"""At once: a millisecond or two each, most of it in the index of vectors."""
SECONDS = 5.0


class Writer:
    """A queue with an end: what does not fit is forgotten, and so is what the store does not take."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[Entry] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.forgotten = 0
        """Entries that were not kept: some later call asks the upstream instead of sharing an answer."""

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; what waits is forgotten."""
        if self._task is not None:
            await end(self._task)

    def remember(self, entry: Entry) -> None:
        """Have *entry* written soon."""
        if len(self._waiting) >= MAX_WAITING:
            self.forgotten += 1
            return
        self._waiting.append(entry)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            batch = list(islice(self._waiting, BATCH_ENTRIES))
            await self._write(batch)
            for _ in batch:
                self._waiting.popleft()
            if not self._waiting:
                self._wake.clear()

    async def _write(self, batch: list[Entry]) -> None:
        try:
            await self._store.put(batch, seconds=SECONDS)
        except StoreAway as failure:
            if not self.forgotten:
                logger.warning("Semantic entries are not kept, and calls go on: %s", failure)
            self.forgotten += len(batch)
