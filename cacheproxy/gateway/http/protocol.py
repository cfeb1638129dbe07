"""HTTP/1.1 for uvicorn, made for many small answers and for clients that mean no good.

Cheaper than uvicorn's own: one write per answer, no events or timers that are not needed, no patterns matched
against headers of our own making. And bounded: heads in size, count and time, bodies in time, idle connections,
requests sent ahead, clients who read too slowly. WebSockets are not spoken, an ``Upgrade`` is ignored. What this
relies on of uvicorn is named in ADR 0008.
"""

import asyncio
import urllib.parse
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, cast

import httptools
import msgspec

from cacheproxy.gateway.config import HttpSettings
from cacheproxy.gateway.http.exchange import STATUS_LINES, Application, Exchange
from cacheproxy.gateway.http.outlet import Outbox, Outlet

MAX_UNREAD_BYTES = 65_536
"""Of a body that comes faster than the application fetches it; then the client has to wait."""
REFUSALS = {
    400: ("bad_request", "This is not a valid HTTP/1.1 request."),
    408: ("request_timeout", "The request did not arrive in time."),
    431: ("headers_too_large", "The request's headers are larger, or more, than is allowed here."),
    503: ("too_many_connections", "Too many connections are open. Try again in a few seconds."),
}
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


class _Refused(Exception):
    """Raised inside the parser, to end it."""

    def __init__(self, status: int) -> None:
        self.status = status


class HttpProtocol(asyncio.Protocol):
    """One connection. Give the class to uvicorn as ``http``; a subclass may have other ``settings``."""

    settings = HttpSettings()

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        if not config.loaded:
            config.load()
        self.paused = False
        self._application: Application = config.loaded_app
        self._at_once: Callable[[Exchange], bool] = getattr(config.loaded_app, "at_once", _never)
        self._root_path: str = config.root_path
        self._server = server_state
        self._app_state = app_state
        self._loop: asyncio.AbstractEventLoop = _loop or asyncio.get_event_loop()
        self._parser = _parser(self)
        self._scope_of_connection: dict[str, Any] = {}
        self._common: tuple[Any, list[bytes]] = (None, [])
        self._exchanges: deque[Exchange] = deque()  # the first is being answered, the last may still be read
        self._reading: Exchange | None = None
        self._due: Exchange | None = None  # to be begun, once it is seen how much of it has come
        self._in_head = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._awaits_continue = False
        self._read_paused = False
        self._last = False  # nothing that comes from now on is looked at
        self._drained = asyncio.Event()
        self._deadline = inf  # of what is waited for: a request, the rest of its head, of its body, an end
        self._began_at: float | None = None  # to wait for this head, or body
        self._unsent = (0, 0.0)  # bytes, and since when

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self.outlet = Outlet(self._transport, Outbox.of(self._loop))
        connections = self._server.connections
        connections.add(self)
        self._scope_of_connection = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "server": _address(transport.get_extra_info("sockname")),
            "client": _address(transport.get_extra_info("peername")),
            "root_path": self._root_path,
        }
        self._deadline = self._loop.time() + self.settings.idle_seconds
        self._timer = self._loop.call_later(self.settings.tick_seconds, self._tick)
        if len(connections) > self.settings.max_connections:
            self._refuse(503)

    def connection_lost(self, _problem: Exception | None) -> None:
        """Tell the application that the client has gone."""
        self._server.connections.discard(self)
        self._timer.cancel()
        self._last = True
        for exchange in self._exchanges:
            exchange.gone = True
            exchange.tell()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and begin to answer what is whole."""
        if self._last:
            return
        was_in_head = self._in_head
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as problem:
            refused = problem.__context__
            self._refuse(refused.status if isinstance(refused, _Refused) else 400)
            return
        if self._due is not None:
            self._begin(self._due)
        if self._in_head:
            self._expect_more_head(len(data) if was_in_head else 0)
        elif self._reading is not None:
            self._expect_more_body(self._reading)

    def pause_writing(self) -> None:
        """Let the application wait."""
        self.paused = True
        self._drained.clear()

    def resume_writing(self) -> None:
        """Let the application go on."""
        self.paused = False
        self._drained.set()

    # What the parser finds.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if len(self._exchanges) > self.settings.max_pipelined:
            raise _Refused(400)
        self._in_head, self._began_at = True, None
        self._url, self._headers, self._head_bytes, self._awaits_continue = b"", [], 0, False

    def on_url(self, url: bytes) -> None:
        """Keep a part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes after a chunked body is none."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self.settings.max_head_bytes or len(self._headers) >= self.settings.max_headers:
            raise _Refused(431)
        if not self._in_head:
            return
        name = name.lower()
        if name == b"expect":
            self._awaits_continue = value.lower() == b"100-continue"
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin to answer, unless an earlier request of this connection comes first."""
        if self._parser.should_upgrade():
            return  # and nothing else: the request is read again without its upgrade
        self._in_head, self._began_at = False, None
        method, version = self._parser.get_method(), self._parser.get_http_version()
        path, raw_path, query = _target(self._url)
        scope = {
            **self._scope_of_connection,
            "method": _METHODS.get(method) or method.decode("ascii"),
            "path": self._root_path + path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "state": self._app_state.copy(),
        }
        if version != "1.1":
            scope["http_version"] = version
        keep_alive = version == "1.1" and self._parser.should_keep_alive()
        self._reading = Exchange(self, scope, keep_alive=keep_alive, awaits_continue=self._awaits_continue)
        self._exchanges.append(self._reading)
        if len(self._exchanges) == 1:
            self._due = self._reading
        else:
            self._pause_reading()

    def on_body(self, part: bytes) -> None:
        """Pass a part of the body on; nobody wants the rest of one that is answered already."""
        exchange = self._reading
        if exchange is not None and not exchange.answered:
            exchange.take(part)
            if exchange.unread > MAX_UNREAD_BYTES:
                self._pause_reading()

    def on_message_complete(self) -> None:
        """End the request."""
        exchange, self._reading = self._reading, None
        if exchange is None:
            return
        exchange.whole = True
        self._deadline = inf
        exchange.tell()
        if exchange.answered:
            self._go_on(exchange)
        elif exchange is self._due:
            self._begin(exchange)

    # What an exchange asks for.

    def common_lines(self) -> list[bytes]:
        """Return the header lines that every answer has: the date, and what uvicorn was told to add."""
        defaults = self._server.default_headers  # a new list every second
        if self._common[0] is not defaults:
            self._common = defaults, list(map(b": ".join, defaults))
        return self._common[1]

    async def writable(self) -> None:
        """Return when the client has read most of what was written, or has gone."""
        await self._drained.wait()

    def read_on(self) -> None:
        """Read from the client, if that was paused."""
        if self._read_paused and not self._transport.is_closing():
            self._read_paused = False
            self._transport.resume_reading()
            if self._reading is not None:
                self._began_at = None  # the time until now was not the client's
                self._expect_more_body(self._reading)

    def ended(self, exchange: Exchange) -> None:
        """Go on to the next request; the rest of one that was answered early is read within a bound."""
        self._server.total_requests += 1
        if exchange.whole:
            self._go_on(exchange)
        elif exchange.awaits_continue:
            self._linger()
        else:
            self.read_on()
            self._deadline = self._loop.time() + self.settings.linger_seconds

    def cut(self) -> None:
        """Close the connection in the middle of an answer, so that nobody takes it for whole."""
        self._last = True
        self.outlet.cut()

    # What uvicorn asks for.

    def shutdown(self) -> None:
        """Close the connection, once what is under way is answered."""
        if self._exchanges:
            self._exchanges[-1].keep_alive = False
        else:
            self.outlet.close()

    # Within.

    def _begin(self, exchange: Exchange) -> None:
        """Let the application answer: at once where it can, in a task otherwise."""
        self._due = None
        if exchange.whole and not self.paused and self._at_once(exchange):
            return
        tasks = self._server.tasks
        task = self._loop.create_task(exchange.run(self._application))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _go_on(self, exchange: Exchange) -> None:
        self._exchanges.popleft()
        if not exchange.keep_alive:
            self._last = True
            self.outlet.close()
        elif self._exchanges:
            self._begin(self._exchanges[0])
        elif self._last:
            self.outlet.close()
        else:
            self.read_on()
            if not self._in_head:
                self._deadline = self._loop.time() + self.settings.idle_seconds

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request again without its wish to speak something else."""
        kept = [(name, value) for name, value in self._headers if name not in {b"upgrade", b"connection"}]
        method = self._parser.get_method()
        if len(kept) == len(self._headers) or method == b"CONNECT":
            self._refuse(400)
        else:
            self._parser = _parser(self)
            lines = [b"%b %b HTTP/1.1" % (method, self._url), *map(b": ".join, kept), b"\r\n"]
            self.data_received(b"\r\n".join(lines) + rest)

    def _expect_more_head(self, count: int) -> None:
        """Set until when the head must be whole; *count* bytes have come that it did not begin with."""
        self._head_bytes += count
        if self._head_bytes > self.settings.max_head_bytes:
            self._refuse(431)
        else:
            self._began_at = self._began_at or self._loop.time()
            self._deadline = self._began_at + self.settings.head_seconds

    def _expect_more_body(self, exchange: Exchange) -> None:
        """Set until when more of the body must have come."""
        if exchange.answered:
            return
        now = self._loop.time()
        self._began_at = self._began_at or now
        self._deadline = min(
            now + self.settings.body_stall_seconds, self._began_at + self.settings.body_seconds
        )

    def _tick(self) -> None:
        """Look whether the client has kept the time limits."""
        now, unsent = self._loop.time(), self.outlet.unsent_bytes
        if not unsent or unsent != self._unsent[0]:
            self._unsent = unsent, now
        if now - self._unsent[1] >= self.settings.write_stall_seconds:
            self.outlet.cut()
        elif now >= self._deadline:
            self._expire(now)
        self._timer = self._loop.call_later(self.settings.tick_seconds, self._tick)

    def _expire(self, now: float) -> None:
        awaited = self._reading
        if self._last or not (self._in_head or awaited) or (awaited and awaited.answered):
            self.outlet.close()
        elif self._read_paused:  # by us, so the client is not late
            self._deadline = now + self.settings.body_stall_seconds
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer that the request at hand is refused, in its turn, and read no more."""
        exchange, self._reading, self._due = self._reading, None, None
        self._last, self._deadline = True, inf
        if exchange is not None and not exchange.answered:
            exchange.gone = True
            exchange.tell()
            self._exchanges.pop()
            if exchange.started:
                self.cut()
                return
        if self._exchanges:
            self._exchanges[-1].keep_alive = False
        else:
            self.outlet.write(_refusal(status))
            self._linger()

    def _linger(self) -> None:
        """Close the connection once the client has had time to read its answer."""
        self._last, self._deadline = True, self._loop.time() + self.settings.linger_seconds
        self.read_on()
        self.outlet.end()


def _never(_exchange: Exchange) -> bool:
    return False


def _parser(protocol: HttpProtocol) -> Any:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # it is for us to ignore it
    return parser


def _address(name: Any) -> tuple[str, int | None] | None:
    """Return host and port, or the path of a Unix socket, as ASGI wants them."""
    if isinstance(name, tuple):
        return name[0], name[1]
    return (name, None) if isinstance(name, str) and name else None


def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, the path as it came, and the query."""
    if not url.startswith(b"/"):
        parsed = httptools.parse_url(url)  # the absolute form, which proxies send
        raw_path, query = parsed.path or b"/", parsed.query or b""
    else:
        raw_path, _, query = url.partition(b"#")[0].partition(b"?")
    path = raw_path.decode("ascii")
    return (urllib.parse.unquote(path) if "%" in path else path), raw_path, query


def _refusal(status: int) -> bytes:
    code, message = REFUSALS[status]
    error = {"type": "invalid_request_error", "message": message, "param": None, "code": code}
    body = msgspec.json.encode({"type": "error", "error": error})
    head = (STATUS_LINES[status], b"content-type: application/json", b"content-length: %d" % len(body))
    return b"\r\n".join((*head, b"connection: close\r\n", body))
