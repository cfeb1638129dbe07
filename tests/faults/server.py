"""An upstream that fails as a cell wants it to, and waits where the cell's client is to leave."""

import asyncio
import json
from typing import Any

from tests.fakes.upstream import USAGE, Behaviour, Received, chat_answer, chat_events, raw_head, reset, stall
from tests.faults.matrix import Cell, Leaves, fault
from tests.faults.sharing import Scene

NO_SUM = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}
ERROR = {"error": {"message": "no", "type": "x", "param": None, "code": "of_its_own"}}
ERROR_EVENT = b"data: " + json.dumps(ERROR).encode() + b"\n\n"
NOTICED_SECONDS = 0.25
"""How long the upstream waits, so that the gateway has noticed who has gone."""


class Play:
    """One cell being played: where its upstream and its client are."""

    def __init__(self, cell: Cell, prompt: str = "") -> None:
        self.cell = cell
        self.prompt = prompt or cell.name
        self.reached = asyncio.Event()
        """Set once the upstream is where the client is to leave."""
        self.gone = asyncio.Event()
        """Set once the client has left."""

    async def gate(self, leaves: Leaves) -> None:
        """Wait here for the client to leave, if this is where it does."""
        if self.cell.leaves is leaves:
            self.reached.set()
            await self.gone.wait()
            await asyncio.sleep(NOTICED_SECONDS)

    async def serve(self, call: Received, writer: asyncio.StreamWriter) -> None:
        """Answer as the cell's fault has it."""
        await self.gate(Leaves.IN_LINE)
        await _answers(self, self.cell.fault.name)(call, writer)


class Pair(Play):
    """A scene being played: its leader's play, and its follower's. Its first call fails, the next is answered well."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(Cell(scene.leader_streams, fault(scene.fault), scene.leader_leaves), scene.name)
        self.follower = Play(
            Cell(scene.follower_streams, fault(scene.fault), scene.follower_leaves), scene.name
        )
        self.calls = 0
        self.asked = asyncio.Event()
        """Set once the upstream has the leader's call."""
        self.joined = asyncio.Event()
        """Set once the follower listens."""

    async def gate(self, leaves: Leaves) -> None:
        """Wait here for the follower to join, and for whoever is to leave."""
        if leaves is Leaves.IN_LINE:
            self.asked.set()
            await self.joined.wait()
        await asyncio.gather(super().gate(leaves), self.follower.gate(leaves))

    async def serve(self, call: Received, writer: asyncio.StreamWriter) -> None:
        """Answer the first call as the scene's fault has it."""
        self.calls += 1
        if self.calls == 1:
            await super().serve(call, writer)
        else:
            well = Cell(call.document["stream"], fault("well"), Leaves.NEVER)
            await Play(well).serve(call, writer)


def _answers(play: Play, name: str) -> Behaviour:
    """Return the behaviour of an upstream with this fault."""
    if name in {"stalls", "resets"}:
        return stall() if name == "stalls" else reset()
    if name.isdigit() or name == "odd_status":
        return _plain(play, ERROR, status=999 if name == "odd_status" else int(name))
    if name in PLAIN_FAULTS:
        return _plain(play, ERROR if name == "error_in_200" else chat_answer(), flaw=name)
    usage: Any = {"no_sum": NO_SUM, "no_usage": None}.get(name, USAGE)
    if play.cell.streamed:
        return _stream(play, name, chat_events(usage=usage))
    return _plain(play, chat_answer(usage=usage))


PLAIN_FAULTS = {
    "html",
    "error_in_200",
    "resets_in_body",
    "stalls_in_body",
    "short",
    "cut",
    "long",
    "unstreamed",
}


def _plain(play: Play, document: Any, *, status: int = 200, flaw: str = "") -> Behaviour:
    """Answer with JSON in two halves."""
    body = b"<html><h1>Hello</h1></html>" if flaw == "html" else json.dumps(document).encode()
    length = len(body) + {"short": 20, "cut": -20}.get(flaw, 0)
    kind = "text/html" if flaw == "html" else "application/json"
    middle = len(body) // 2

    async def behave(call: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(raw_head(status, content_type=kind, content_length=str(length)) + body[:middle])
        await writer.drain()
        await play.gate(Leaves.IN_ANSWER)
        if flaw in {"resets_in_body", "stalls_in_body"}:
            await (reset if flaw == "resets_in_body" else stall)()(call, writer)
        writer.write(body[middle:] + (b"HTTP/1.1 200 Surplus\r\n" if flaw == "long" else b""))
        await writer.drain()
        if flaw in {"short", "cut", "long"}:
            raise ConnectionResetError

    return behave


def _stream(play: Play, flaw: str, events: list[bytes]) -> Behaviour:
    """Answer with events: the first words, then the rest, then the closing event."""
    *words, last, closing = events
    if flaw == "errs_in_stream":
        last = ERROR_EVENT
    if flaw in {"errs", "closes_at_once"}:
        words, last = [], ERROR_EVENT if flaw == "errs" else b""

    async def behave(call: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(raw_head(200, content_type="text/event-stream", transfer_encoding="chunked"))
        await writer.drain()
        await play.gate(Leaves.IN_ANSWER)
        if flaw == "resets_before_events":
            await reset()(call, writer)
        _write(writer, *words)
        await writer.drain()
        await play.gate(Leaves.IN_STREAM)
        if flaw in {"resets_in_stream", "stalls_in_stream"}:
            await (reset if flaw == "resets_in_stream" else stall)()(call, writer)
        _write(writer, last, *([] if flaw == "ends_unclosed" else [closing]))
        play.reached.set()
        writer.write(b"0\r\n\r\n")

    return behave


def _write(writer: asyncio.StreamWriter, *events: bytes) -> None:
    for event in filter(None, events):
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
