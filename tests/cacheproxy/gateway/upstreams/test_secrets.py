"""The operator's keys: where they come from, and when they are read."""

from pathlib import Path

import pytest

from cacheproxy.gateway.upstreams.secrets import read_secret


def test_a_secret_comes_from_the_environment_or_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert read_secret("LOCAL_KEY") is None
    (tmp_path / "key").write_text("from file\n")
    monkeypatch.setenv("LOCAL_KEY_FILE", str(tmp_path / "key"))
    assert read_secret("LOCAL_KEY") == "from file"
    monkeypatch.setenv("LOCAL_KEY", "from environment")
    assert read_secret("LOCAL_KEY") == "from environment"


def test_a_file_that_is_missing_or_empty_holds_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCAL_KEY_FILE", str(tmp_path / "key"))
    assert read_secret("LOCAL_KEY") is None
    (tmp_path / "key").write_text("\n")
    assert read_secret("LOCAL_KEY") is None
