"""The call that is being worked on, for whoever writes a log line on its way, or calls an upstream for it."""

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from cacheproxy.gateway.call import Call

Value = TypeVar("Value")
current_call: ContextVar["Call | None"] = ContextVar("current_call", default=None)


def step(call: "Call", name: str, awaited: Awaitable[Value]) -> Awaitable[Value]:
    """Return *awaited*, as a step called *name* of *call*'s trace where it has one."""
    return awaited if call.trace is None else call.trace.timed(name, awaited)
