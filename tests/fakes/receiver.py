"""Somebody who receives webhooks: real HTTP on loopback, answering as told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Delivery(NamedTuple):
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """The server; ``answers`` holds the statuses to come, the last one for good."""

    def __init__(self) -> None:
        self.received: list[Delivery] = []
        self.answers = [200]
        self.silence = threading.Event()
        """Set it to end a silence, which ``answers`` of 0 are."""
        self.url = ""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Give a receiver that listens."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Delivery(self.path, headers, body))
            status = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
            if not status:
                receiver.silence.wait(20)
                return
            self.send_response(status)
            if status == 307:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.silence.set()
        server.shutdown()
        thread.join()
        server.server_close()
