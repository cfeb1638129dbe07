"""The client's secrets, and connections that are used again."""

import gzip
import json
from pathlib import Path

import pytest

from cacheproxy.gateway.upstreams.secrets import read_secret
from tests.cacheproxy.gateway.world import Client
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, chat_events, raw_answer, stream


def test_a_secret_comes_from_the_environment_or_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert read_secret("LOCAL_KEY") is None
    (tmp_path / "key").write_text("from file\n")
    monkeypatch.setenv("LOCAL_KEY_FILE", str(tmp_path / "key"))
    assert read_secret("LOCAL_KEY") == "from file"
    monkeypatch.setenv("LOCAL_KEY", "from environment")
    assert read_secret("LOCAL_KEY") == "from environment"


async def test_connections_are_used_again(client: Client, upstream: FakeUpstream) -> None:
    upstream.then(
        answer(chat_answer()), stream(*chat_events()), answer({}, status=500), answer(chat_answer("again"))
    )
    for number in range(4):
        await client.chat(f"call {number}", stream=number == 1)
    assert len(upstream.received) == 4
    assert upstream.accepted == 1


async def test_a_compressed_answer_is_read(client: Client, upstream: FakeUpstream) -> None:
    body = gzip.compress(json.dumps(chat_answer()).encode())
    upstream.then(raw_answer(body, headers={"content-type": "application/json", "content-encoding": "gzip"}))
    read = await client.chat()
    assert read.document == chat_answer()
    assert "content-encoding" not in read.headers
