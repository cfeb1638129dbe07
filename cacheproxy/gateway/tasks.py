"""Ending a task for certain."""

import asyncio

PATIENCE_SECONDS = 0.1


async def end(task: asyncio.Task[None]) -> None:
    """Cancel *task* until it has ended.

    Once is not always enough: a client library in the middle of a reply may take the cancellation for a timeout
    of its own, and the task goes on.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
