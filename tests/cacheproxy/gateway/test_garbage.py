"""What calls leave behind: nothing that only the garbage collector could clear away, while clients wait for it."""

import gc

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.http.exchange import Exchange
from cacheproxy.gateway.upstreams.connection import Connection
from tests.cacheproxy.gateway.world import Client, eventually


async def nearly_nothing_left() -> bool:
    """Return whether no call is left; connections may keep the one that opened them."""
    things = gc.get_objects()
    opened = sum(isinstance(thing, Connection) for thing in things)
    return sum(isinstance(thing, Call | Exchange) for thing in things) <= 2 * (1 + opened)


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
