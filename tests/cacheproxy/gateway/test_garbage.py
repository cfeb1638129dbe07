"""What calls leave behind: nothing that only the garbage collector could clear away, while clients wait for it."""

import gc

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.http.exchange import Exchange
from tests.cacheproxy.gateway.world import Client, eventually


async def nearly_nothing_left() -> bool:
    """Return whether no call is left; the last connection may keep its own."""
    return sum(isinstance(thing, Call | Exchange) for thing in gc.get_objects()) <= 2


async def test_nothing_of_a_call_waits_for_the_garbage_collector(client: Client) -> None:
    gc.collect()
    gc.disable()
    try:
        for number in range(10):
            await client.chat(f"prompt {number % 7}")
            await client.chat(f"prompt {number % 7}", stream=True)
        await eventually(nearly_nothing_left)
    finally:
        gc.enable()
