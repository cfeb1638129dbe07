"""What is too large, too slow or too much: refused in time, in a bounded memory."""

import asyncio
from pathlib import Path

import pytest

from tests.cacheproxy.gateway.fuzz.live import Live, check_clear
from tests.cacheproxy.gateway.fuzz.samples import SAMPLES
from tests.faults.client import parsed

pytestmark = pytest.mark.django_db
"""So that there is a test database; the tests look at it by themselves."""

MIB = 1 << 20
ASKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
PATHS = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/predict/ocr",
    "/v2/models/iris/infer",
    "/v1/audio/transcriptions",
]
EVERY_PATH = pytest.mark.parametrize("path", PATHS)


def head(gateway: Live, path: str, *fields: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "host: x",
        f"authorization: Bearer {gateway.key}",
        *fields,
        "connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@EVERY_PATH
def test_100_mib_that_are_announced_are_refused_unread(gateway: Live, path: str) -> None:
    refused = gateway.say(head(gateway, path, f"content-length: {100 * MIB}"), *[b" " * MIB] * 100)
    assert refused.status == 413
    check_clear(SAMPLES.get(path, SAMPLES[PATHS[0]]), refused)


@EVERY_PATH
def test_100_mib_in_chunks_are_refused_in_bounded_memory(gateway: Live, path: str) -> None:
    before = resident_mib()
    chunk = b"%x\r\n%b\r\n" % (MIB, b"1" * MIB)
    refused = gateway.say(head(gateway, path, "transfer-encoding: chunked"), *[chunk] * 100)
    assert refused.status == 413
    check_clear(SAMPLES.get(path, SAMPLES[PATHS[0]]), refused)
    assert resident_mib() - before < 64


@EVERY_PATH
@pytest.mark.parametrize("kind", ["content-length: 900", "transfer-encoding: chunked"])
def test_a_body_that_stalls_is_a_408(gateway: Live, path: str, kind: str) -> None:
    refused = gateway.say(head(gateway, path, kind) + b'5\r\n{"mod')
    assert refused.status == 408


def test_a_head_that_stalls_is_a_408(gateway: Live) -> None:
    assert gateway.say(b"POST /v1/chat/comp").status == 408


@pytest.mark.parametrize(
    "fields",
    [["x-a: " + "a" * 70_000], [f"x-{number}: a" for number in range(101)], ["x-" + "a" * 70_000 + ": b"]],
)
def test_heads_that_are_too_large_are_a_431(gateway: Live, fields: list[str]) -> None:
    assert gateway.say(head(gateway, PATHS[0], *fields)).status == 431


@pytest.mark.parametrize(
    "raw",
    [
        ASKED + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ASKED + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        ASKED + b"transfer-encoding: chunked\r\n\r\nZZ\r\n",
        ASKED + b"content-length: -5\r\n\r\n",
        ASKED + b"x-a: b\x00c\r\n\r\n",
        ASKED + b"x-a : b\r\n\r\n",
        ASKED + b" x-folded: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 200,
    ],
)
def test_what_is_not_http_is_a_400(gateway: Live, raw: bytes) -> None:
    refused = parsed(gateway.raw(raw))
    assert refused.status == 400
    assert refused.code == "bad_request"


def test_200_stalling_clients_are_let_go(gateway: Live) -> None:
    async def stall() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head(gateway, PATHS[0], "content-length: 99") + b"{")
        try:
            return await reader.read()
        finally:
            writer.transport.abort()

    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*(stall() for _ in range(200)))

    assert {answer.split()[1] for answer in gateway.runner.run(all_of_them())} == {b"408"}
