"""The programs in docs/clients.md run as they stand there."""

import re
import subprocess
import sys

import pytest

from tests.clients.documented import program
from tests.clients.stage import Stage


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("import OpenAI", "with_raw_response"), r"HELLO\nzerorate; hit; .* \d\.\d+ USD\nHELLO\n"),
        (("import Anthropic",), "HELLO\n"),
    ],
    ids=["openai", "anthropic"],
)
def test_they_do_what_they_say(stage: Stage, parts: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "-c", program(stage, *parts)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(said, run.stdout)
