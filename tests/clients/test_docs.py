"""The programs in docs/clients.md run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.stage import Stage
from tests.clients.test_litellm_client import PYTHON as LITELLM_PYTHON
from tests.clients.test_litellm_client import ROOT

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "clients.md").read_text(), re.MULTILINE | re.DOTALL
)


def program(*parts: str) -> str:
    """Return the blocks that have these words in them, one after the other."""
    return "\n".join(next(block for block in BLOCKS if part in block) for part in parts)


@pytest.mark.journey
@pytest.mark.parametrize(
    ("python", "parts", "said"),
    [
        (
            sys.executable,
            ("import OpenAI", "with_raw_response"),
            r"HELLO\nzerorate; hit; .* \d\.\d+ USD\nHELLO\n",
        ),
        (sys.executable, ("import Anthropic",), "HELLO\n"),
        (LITELLM_PYTHON, ("import litellm",), "HELLO\n"),
    ],
    ids=["openai", "anthropic", "litellm"],
)
def test_they_do_what_they_say(stage: Stage, python: Path | str, parts: tuple[str, ...], said: str) -> None:
    code = program(*parts).replace("https://gateway.example", stage.url).replace("zr_live_…", stage.key)
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    run = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(said, run.stdout)
