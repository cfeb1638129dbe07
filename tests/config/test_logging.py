"""The log: JSON lines that know their call, and never say what was in it."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.telemetry.current import current_call
from cacheproxy.protocols.registry import ELSEWHERE
from config.logging import JsonLines, logging_settings

MARKER = "xyzzy-marker"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Give all that is logged, of every level, as it would be written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.setLevel(level)
    root.removeHandler(handler)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_line_is_one_json_object(log: io.StringIO) -> None:
    logging.getLogger("some.where").warning("It is %s\nnow", "so", extra={"status": 200, "prompt": MARKER})
    [line] = lines(log)
    assert line["time"].endswith("+00:00")
    del line["time"]
    assert line == {"level": "WARNING", "logger": "some.where", "message": "It is so\nnow", "status": 200}


def test_an_exception_outside_of_calls_is_written_whole(log: io.StringIO) -> None:
    try:
        raise ValueError("what went wrong")
    except ValueError:
        logging.getLogger("x").exception("No.")
    assert "ValueError: what went wrong" in lines(log)[0]["exception"]


async def test_on_a_calls_way_a_line_knows_it_and_an_exception_tells_no_text(log: io.StringIO) -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError

    call = Call("/v1/chat/completions", ELSEWHERE, {}, nothing, nothing)
    current_call.set(call)
    try:
        try:
            raise KeyError(MARKER)
        except KeyError as problem:
            raise RuntimeError(f"because of {MARKER}") from problem
    except RuntimeError:
        logging.getLogger("x").exception("No.")
    [line] = [line for line in lines(log) if line["logger"] == "x"]
    assert line["request_id"] == call.request_id.decode()
    assert "builtins.RuntimeError" in line["exception"]
    assert "builtins.KeyError" in line["exception"]
    assert "test_logging.py" in line["exception"]
    assert MARKER not in json.dumps({**line, "exception": line["exception"].replace("{MARKER}", "")})


def test_all_who_log_go_through_it() -> None:
    """A fresh process set up as uvicorn does, then by us: its lines are JSON as well, and calls leave none."""
    code = (
        "import logging.config, uvicorn.config\n"
        "uvicorn.config.Config('x:y').configure_logging()\n"
        "from config.logging import configure\n"
        "configure('INFO')\n"
        "logging.getLogger('uvicorn.error').info('serving')\n"
        "logging.getLogger('uvicorn.access').info('GET /')\n"
        "logging.getLogger('django.request').warning('odd')\n"
        "logging.getLogger('celery.worker').warning('late')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    written = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["logger"] for line in written] == ["uvicorn.error", "django.request", "celery.worker"]
    assert run.stdout == ""


def test_the_level_is_the_settings() -> None:
    assert logging_settings("WARNING")["root"]["level"] == "WARNING"
