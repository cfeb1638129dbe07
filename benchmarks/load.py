"""A load generator in one thread: N connections, each with one request under way, as fast as it goes.

Run as a process of its own (``python -m benchmarks.load``), it reads a plan in JSON on standard input and writes
what it measured as JSON. An epoll loop over plain sockets costs about 10 µs a request, so that it is the server
that is measured.
"""

import json
import select
import socket
import sys
import time
from array import array
from typing import Any

END_OF_HEAD = b"\r\n\r\n"


class Connection:
    """One socket, one request at a time."""

    __slots__ = ("received", "sent_at_ns", "socket")

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at_ns = 0


def run(
    *, host: str, port: int, request: bytes, expected: bytes, connections: int, seconds: float
) -> dict[str, Any]:
    """Send *request* over and over for *seconds*; every answer must have the same body length and hold *expected*.

    Returns requests per second, latencies in microseconds, and how many answers were not as expected.
    """
    pool = {}
    epoll = select.epoll()
    for _ in range(connections):
        connection = Connection(host, port)
        pool[connection.socket.fileno()] = connection
        epoll.register(connection.socket, select.EPOLLIN)
    latencies_us = array("d")
    wrong = 0
    started_ns = time.perf_counter_ns()
    ends_ns = started_ns + int(seconds * 1e9)
    for connection in pool.values():
        connection.sent_at_ns = time.perf_counter_ns()
        connection.socket.send(request)
    now_ns = started_ns
    while now_ns < ends_ns:
        for descriptor, _ in epoll.poll(1):
            connection = pool[descriptor]
            part = connection.socket.recv(65536)
            if not part:
                raise ConnectionError("the server closed a connection")
            connection.received += part
            if not _is_whole(connection.received):
                continue
            now_ns = time.perf_counter_ns()
            latencies_us.append((now_ns - connection.sent_at_ns) / 1000)
            wrong += expected not in connection.received
            connection.received = b""
            connection.sent_at_ns = now_ns
            connection.socket.send(request)
    elapsed_seconds = (time.perf_counter_ns() - started_ns) / 1e9
    for connection in pool.values():
        connection.socket.close()
    return _summary(sorted(latencies_us), wrong, elapsed_seconds)


def _is_whole(received: bytes) -> bool:
    end = received.find(END_OF_HEAD)
    if end < 0:
        return False
    start = received.find(b"content-length: ")
    length = int(received[start + 16 : received.find(b"\r", start)])
    return len(received) >= end + len(END_OF_HEAD) + length


def _summary(latencies_us: list[float], wrong: int, elapsed_seconds: float) -> dict[str, Any]:
    count = len(latencies_us)
    return {
        "requests": count,
        "requests_per_second": round(count / elapsed_seconds),
        "p50_us": round(latencies_us[count // 2]),
        "p99_us": round(latencies_us[count * 99 // 100]),
        "wrong": wrong,
    }


def main() -> None:
    """Read a plan, run it, write the result."""
    plan = json.load(sys.stdin)
    plan["request"] = plan["request"].encode()
    plan["expected"] = plan["expected"].encode()
    json.dump(run(**plan), sys.stdout)


if __name__ == "__main__":
    main()
