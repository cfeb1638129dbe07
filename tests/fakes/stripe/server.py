"""A small stateful Stripe over HTTP: `with FakeStripe() as stripe:`, and `stripe.url` is its base address."""

import json
import re
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.fakes.stripe import webhooks
from tests.fakes.stripe.account import API_VERSION, Account, Json, published
from tests.fakes.stripe.errors import RefusedError
from tests.fakes.stripe.forms import decode_form
from tests.fakes.stripe.idempotency import Answer, IdempotencyKeys
from tests.fakes.stripe.shapes import SHAPES, read_params

WORK: dict[str, Callable[[Account, str, Json], Json]] = {
    "POST /v1/customers": lambda account, _, params: account.create_customer(params),
    "GET /v1/customers": lambda account, _, params: account.list_customers(params),
    "GET /v1/customers/{id}": lambda account, which, _: account.retrieve_customer(which),
    "POST /v1/invoices": lambda account, _, params: account.create_invoice(params),
    "GET /v1/invoices": lambda account, _, params: account.list_invoices(params),
    "GET /v1/invoices/{id}": lambda account, which, _: account.retrieve_invoice(which),
    "GET /v1/invoices/{id}/lines": lambda account, which, params: account.list_lines(which, params),
    "POST /v1/invoices/{id}/add_lines": lambda account, which, params: account.add_lines(which, params),
    "POST /v1/invoices/{id}/finalize": lambda account, which, params: account.finalize(which, params),
    "POST /v1/invoices/{id}/pay": lambda account, which, params: account.pay(which, params),
    "POST /v1/invoices/{id}/void": lambda account, which, _: account.void(which),
    "POST /v1/invoices/{id}/mark_uncollectible": lambda account, which, _: account.mark_uncollectible(which),
}
_PATTERNS = {route: re.compile(route.replace("{id}", r"(?P<id>\w+)")) for route in SHAPES}


class Request(NamedTuple):
    """One request as it arrived; `route` is its row in the shape table."""

    route: str
    identifier: str
    params: Json
    key: str | None
    version: str | None


class ConnectionLostError(Exception):
    """Raised by a hook: the connection breaks off here and the caller is told nothing."""


def lose_connection(_account: Account, _request: Request) -> None:
    """Break the connection off: `before` the work it stays undone, `after` it is done and unanswered."""
    raise ConnectionLostError


Hook = Callable[[Account, Request], None]


class FakeStripe:
    """The account, its HTTP server, and levers: `before` and `after` take one-shot hooks by route."""

    def __init__(
        self,
        *,
        api_key: str = "sk_test_fake",
        webhook_secret: str = "whsec_fake",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.api_key = api_key
        self.webhook_secret = webhook_secret
        self.account = Account(clock)
        self.keys = IdempotencyKeys()
        self.before: defaultdict[str, list[Hook]] = defaultdict(list)
        self.after: defaultdict[str, list[Hook]] = defaultdict(list)
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """The base address, as `STRIPE_API_BASE` takes it."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def deliver(self, url: str, events: Sequence[Json] | None = None, *, copies: int = 1) -> list[int]:
        """Deliver events (all by default) in the order given, `copies` times over; return the statuses."""
        chosen = self.account.events if events is None else events
        return [
            webhooks.deliver(event, url=url, secret=self.webhook_secret)
            for _ in range(copies)
            for event in chosen
        ]

    def calls(self, route: str) -> list[Request]:
        """Return the requests that a route received, replayed ones included."""
        return [request for request in self.requests if request.route == route]

    def handle(self, method: str, target: str, headers: Any, body: str) -> Answer:
        """Answer one request; requests are worked one at a time.

        Raises: ConnectionLostError, where a hook wants the connection broken off.
        """
        with self._lock:
            try:
                request = self._read(method, target, headers, body)
            except RefusedError as refusal:
                return Answer(refusal.status, refusal.body)
            self.requests.append(request)
            fingerprint = (request.route, request.identifier, json.dumps(request.params, sort_keys=True))
            answer = self.keys.answer(request.key, fingerprint, lambda: self._work(request))
            self._run(self.after, request)
            return answer

    def _read(self, method: str, target: str, headers: Any, body: str) -> Request:
        if headers.get("Authorization") != f"Bearer {self.api_key}":
            raise RefusedError("Invalid API Key provided", status=401)
        url = urlsplit(target)
        route, identifier = _find_route(f"{method} {url.path}")
        params = decode_form(body if method == "POST" else url.query)
        key = headers.get("Idempotency-Key") if method == "POST" else None
        return Request(route, identifier, params, key, headers.get("Stripe-Version"))

    def _run(self, hooks: defaultdict[str, list[Hook]], request: Request) -> None:
        if hooks[request.route]:
            hooks[request.route].pop(0)(self.account, request)

    def _work(self, request: Request) -> Json:
        params = read_params(SHAPES[request.route], request.params)
        self._run(self.before, request)
        return published(WORK[request.route](self.account, request.identifier, params))


def _find_route(line: str) -> tuple[str, str]:
    for route, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(line):
            return route, match.groupdict().get("id", "")
    raise RefusedError(f"Unrecognized request URL ({line})", status=404)


def _handler_of(stripe: FakeStripe) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10
        disable_nagle_algorithm = (
            True  # headers and body are two writes: half a second a dozen calls otherwise
        )

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            try:
                answer = stripe.handle(self.command, self.path, self.headers, body)
            except ConnectionLostError:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self._send(answer)

        def _send(self, answer: Answer) -> None:
            body = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Request-Id", f"req_fake{len(stripe.requests):08}")
            self.send_header("Stripe-Version", API_VERSION)
            if key := self.headers.get("Idempotency-Key"):
                self.send_header("Idempotency-Key", key)
            if answer.replayed:
                self.send_header("Idempotent-Replayed", "true")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Stay quiet: a test that fails shows `requests`."""

    return Handler
