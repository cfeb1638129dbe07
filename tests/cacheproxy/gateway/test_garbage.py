"""What calls leave behind: nothing that only the garbage collector could clear away, while clients wait for it."""

import gc

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.http.exchange import Exchange
from tests.cacheproxy.gateway.world import Client


def left() -> list[str]:
    """Return the kinds of what is left of calls."""
    return [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, Call | Exchange)]


async def test_nothing_of_a_call_waits_for_the_garbage_collector(client: Client) -> None:
    gc.collect()
    gc.disable()
    try:
        for number in range(10):
            await client.chat(f"prompt {number % 7}")
            await client.chat(f"prompt {number % 7}", stream=True)
        found = left()
    finally:
        gc.enable()
    assert len(found) <= 2, found  # the last one may be on its way out
