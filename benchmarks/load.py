"""A load generator in one thread: N connections, each with one request under way, as fast as it goes.

Run as a process of its own (``python -m benchmarks.load``), it reads a plan in JSON on standard input and writes
what it measured as JSON. An epoll loop over plain sockets costs about 10 µs a request, so that it is the server
that is measured.
"""

import json
import select
import socket
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

END_OF_HEAD = b"\r\n\r\n"
END_OF_CHUNKS = b"0\r\n\r\n"
PLACE = b"@@@@@@@@@@@@@@@@"
"""Stands in a request for 16 digits that no other request of this process, or of another, has."""


class Connection:
    """One socket, one request at a time."""

    __slots__ = ("first_byte_ns", "received", "sent_at_ns", "socket")

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at_ns = 0
        self.first_byte_ns = 0


class Load:
    """A run: counts, latencies in microseconds, and how many answers were not as expected."""

    def __init__(self, request: bytes, expected: bytes) -> None:
        self.request = request
        self.expected = expected
        self.distinct = PLACE in request
        self.serial = time.time_ns() // 1000 % 10**15 * 10
        self.latencies_us = array("d")
        self.first_us = array("d")
        self.wrong = 0

    def ask(self, connection: Connection) -> None:
        """Send the next request."""
        request = self.request
        if self.distinct:
            self.serial += 1
            request = request.replace(PLACE, b"%016d" % self.serial)
        connection.received, connection.first_byte_ns = b"", 0
        connection.sent_at_ns = time.perf_counter_ns()
        connection.socket.send(request)

    def hear(self, connection: Connection) -> bool:
        """Read what came; return whether the answer is whole."""
        part = connection.socket.recv(65536)
        if not part:
            raise ConnectionError("the server closed a connection")
        now_ns = time.perf_counter_ns()
        connection.received += part
        if not connection.first_byte_ns:
            connection.first_byte_ns = now_ns
        if not is_whole(connection.received):
            return False
        self.latencies_us.append((now_ns - connection.sent_at_ns) / 1000)
        self.first_us.append((connection.first_byte_ns - connection.sent_at_ns) / 1000)
        self.wrong += self.expected not in connection.received
        return True

    def run(self, host: str, port: int, connections: int, seconds: float, requests: int) -> dict[str, Any]:
        """Load *port* until *seconds* are over or *requests* are answered (0: no such end)."""
        pool = {made.socket.fileno(): made for made in (Connection(host, port) for _ in range(connections))}
        epoll = select.epoll()
        for descriptor, connection in pool.items():
            epoll.register(descriptor, select.EPOLLIN)
            self.ask(connection)
        started = time.perf_counter()
        while time.perf_counter() < started + seconds and not 0 < requests <= len(self.latencies_us):
            for descriptor, _ in epoll.poll(1):
                if self.hear(pool[descriptor]):
                    self.ask(pool[descriptor])
        elapsed_seconds = time.perf_counter() - started
        for connection in pool.values():
            connection.socket.close()
        return self.summary(elapsed_seconds)

    def summary(self, elapsed_seconds: float) -> dict[str, Any]:
        """Return the figures of the run."""
        count = len(self.latencies_us)
        if not count:
            return {
                "requests": 0,
                "requests_per_second": 0,
                "p50_us": 0,
                "p99_us": 0,
                "first_p50_us": 0,
                "wrong": 0,
            }
        ordered = sorted(self.latencies_us)
        return {
            "requests": count,
            "requests_per_second": round(
                count / elapsed_seconds, 1 if count < elapsed_seconds * 1000 else None
            ),
            "p50_us": round(ordered[count // 2]),
            "p99_us": round(ordered[count * 99 // 100]),
            "first_p50_us": round(sorted(self.first_us)[count // 2]),
            "wrong": self.wrong,
        }


def is_whole(received: bytes) -> bool:
    """Return whether an answer has come to its end."""
    end = received.find(END_OF_HEAD)
    if end < 0:
        return False
    start = received.find(b"content-length: ", 0, end)
    if start < 0:
        return received.endswith(END_OF_CHUNKS)
    length = int(received[start + 16 : received.find(b"\r", start)])
    return len(received) >= end + len(END_OF_HEAD) + length


def post(path: str, key: str, body: str) -> str:
    """Return a request as a client of OpenAI's would send it."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    )


def load(
    port: int, request: str, *, connections: int, expected: str, seconds: float = 3.0, requests: int = 0
) -> dict[str, Any]:
    """Load *port* from a process of its own and return what it measured."""
    plan = {"port": port, "request": request, "expected": expected, "connections": connections}
    plan |= {"seconds": seconds, "requests": requests}
    command = [sys.executable, "-m", "benchmarks.load"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parent.parent,
        input=json.dumps(plan),
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Read a plan, run it, write the result."""
    plan = json.load(sys.stdin)
    run = Load(plan["request"].encode(), plan["expected"].encode())
    json.dump(
        run.run("127.0.0.1", plan["port"], plan["connections"], plan["seconds"], plan["requests"]), sys.stdout
    )


if __name__ == "__main__":
    main()
