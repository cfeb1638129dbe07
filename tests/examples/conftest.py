"""The example upstreams as customers run them: each in processes of its own, once per module of tests."""

from collections.abc import Iterator

import pytest

from examples import child


@pytest.fixture(scope="module")
def ocr_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _upstream("ocr_server", tmp_path_factory)


@pytest.fixture(scope="module")
def chat_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _upstream("chat_server", tmp_path_factory)


@pytest.fixture(scope="module")
def oip_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _upstream("oip_server", tmp_path_factory, ready_path="/v2/health/ready")


def _upstream(
    name: str, tmp_path_factory: pytest.TempPathFactory, ready_path: str = "/health"
) -> Iterator[str]:
    port = child.free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["-m", f"examples.upstreams.{name}", "--port", str(port)]
    log = tmp_path_factory.mktemp(name) / "log"
    with child.running(command, ready_url=url + ready_path, log=log):
        yield url
