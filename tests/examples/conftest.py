"""The example upstreams as customers run them: each in processes of its own, once per module of tests."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from examples import child
from examples.stack import ROOT

QWEN = ROOT / "var" / "qwen" / "bin" / "python"
BUILD = "import sys, pathlib; from examples.upstreams import tiny_qwen; tiny_qwen.build(pathlib.Path(sys.argv[1]))"


@pytest.fixture(scope="module")
def ocr_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _upstream("ocr_server", tmp_path_factory)


@pytest.fixture(scope="module")
def chat_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _upstream("chat_server", tmp_path_factory)


@pytest.fixture(scope="module")
def oip_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _upstream("oip_server", tmp_path_factory, ready_path="/v2/health/ready")


@pytest.fixture(scope="module")
def embedding_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _upstream("embedding_server", tmp_path_factory)


@pytest.fixture(scope="module")
def qwen_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a checkpoint, as anybody's would be."""
    if not QWEN.exists():
        pytest.skip("var/qwen is missing: PyTorch without CUDA was not to be had (see requirements/qwen.in)")
    folder = tmp_path_factory.mktemp("checkpoint")
    subprocess.run([QWEN, "-c", BUILD, folder], cwd=ROOT, capture_output=True, check=True)
    return folder


@pytest.fixture(scope="module")
def qwen_url(qwen_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = ["--model", str(qwen_checkpoint)]
    yield from _upstream("qwen_server", tmp_path_factory, python=str(QWEN), options=options)


def _upstream(
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
    *,
    ready_path: str = "/health",
    python: str = sys.executable,
    options: Sequence[str] = (),
) -> Iterator[str]:
    port = child.free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["-m", f"examples.upstreams.{name}", "--port", str(port), *options]
    log = tmp_path_factory.mktemp(name) / "log"
    with child.running(command, ready_url=url + ready_path, log=log, python=python):
        yield url
