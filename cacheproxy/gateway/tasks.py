"""Ending a task for certain, and a future that somebody may have ceased to wait for."""

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


def conclude(done: asyncio.Future[None], problem: Exception | None) -> None:
    """Let *done* end, with *problem* if there is one; nothing happens where nobody waits any more."""
    if done.done():
        return
    if problem is None:
        done.set_result(None)
    else:
        done.set_exception(problem)
