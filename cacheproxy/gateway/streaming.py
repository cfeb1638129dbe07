"""A stream on its way from the upstream to the client: unbuffered, read beside its way.

What comes goes on at once, whole events at a time, except the closing one: that is the answer's last byte, and
it waits until the call is recorded (law L1). When the client hangs up, the upstream is read on for a while, so
that its own count of tokens arrives and the answer can be kept.
"""

import asyncio

from cacheproxy.gateway.call import Call, Header
from cacheproxy.gateway.errors import UpstreamBroken
from cacheproxy.gateway.upstreams.exchange import Exchange
from cacheproxy.protocols.request import StreamReader

END_SECONDS = 0.02
"""How long the connection's end is waited for after the stream's own, so that the connection can be used again."""


class Relay:
    """Passes one stream on. The head goes out with the first event, so that a stillborn stream can fail properly."""

    def __init__(self, call: Call, reader: StreamReader, grace_seconds: float) -> None:
        self.reader = reader
        self.begun = False
        self._call = call
        self._grace_seconds = grace_seconds

    async def run(self, exchange: Exchange, headers: list[Header]) -> None:
        """Pass the stream on until its closing event, which is held back.

        Raises:
            UpstreamBroken: it ended without one, or was not through in time after the client had gone.
            UpstreamTimeout: the model's time is up.
        """
        try:
            async with asyncio.timeout(None) as patience:
                watch = asyncio.create_task(self._watch(patience))
                try:
                    await self._pass_on(exchange, headers)
                finally:
                    watch.cancel()
        except TimeoutError as failure:
            if not patience.expired():
                raise
            raise UpstreamBroken from failure

    async def _pass_on(self, exchange: Exchange, headers: list[Header]) -> None:
        async for chunk in exchange.chunks():
            passable = self.reader.feed(chunk)
            if passable:
                if not self.begun:
                    self.begun = True
                    await self._call.start(exchange.status, headers)
                await self._call.send(passable)
            if self.reader.finished:
                return await exchange.finish(END_SECONDS)
        raise UpstreamBroken

    async def _watch(self, patience: asyncio.Timeout) -> None:
        await self._call.wait_until_gone()
        patience.reschedule(asyncio.get_running_loop().time() + self._grace_seconds)
