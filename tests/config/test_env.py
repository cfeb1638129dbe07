"""The environment: secrets, files that hold them, and what production must have."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import env


def test_a_secret_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pepper").write_text("from a file\n")
    monkeypatch.delenv("KEY_PEPPER", raising=False)
    monkeypatch.setenv("KEY_PEPPER_FILE", str(tmp_path / "pepper"))
    assert env.secret("KEY_PEPPER") == "from a file"


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEY_PEPPER", raising=False)
    monkeypatch.setenv("KEY_PEPPER_FILE", str(tmp_path / "nothing"))
    with pytest.raises(env.MissingSetting, match="KEY_PEPPER_FILE: cannot read"):
        env.secret("KEY_PEPPER")


def test_embedded_secrets_are_made_once_and_readable_by_the_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZERORATE_HOME", str(tmp_path))
    for name in ("DATABASE_URL", *env.SECRET_NAMES):
        monkeypatch.delenv(name, raising=False)
    first = env.secret("SECRET_KEY")
    assert len(first) >= 48
    assert env.secret("SECRET_KEY") == first != env.secret("KEY_PEPPER")
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "secrets.json"]
    assert json.loads((tmp_path / "secrets.json").read_text())["SECRET_KEY"] == first


@pytest.mark.parametrize("missing", env.SECRET_NAMES)
def test_production_does_not_start_without_its_secrets(missing: str) -> None:
    environment = (
        os.environ | dict.fromkeys(env.SECRET_NAMES, "given") | {"DATABASE_URL": "postgresql://db/zerorate"}
    )
    environment.pop("ZERORATE_EMBEDDED", None)
    del environment[missing]
    run = subprocess.run(
        [sys.executable, "manage.py", "check"], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr == f"zerorate: {missing} is not set: give it as {missing} or {missing}_FILE.\n"


def test_a_choice_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.choice("MEMORY_CACHE_POLICY", ["lru", "lfu"], "lru") == "lru"
    monkeypatch.setenv("MEMORY_CACHE_POLICY", "lfu")
    assert env.choice("MEMORY_CACHE_POLICY", ["lru", "lfu"], "lru") == "lfu"
    monkeypatch.setenv("MEMORY_CACHE_POLICY", "fifo")
    with pytest.raises(env.MissingSetting, match="MEMORY_CACHE_POLICY must be one of lru, lfu, not 'fifo'"):
        env.choice("MEMORY_CACHE_POLICY", ["lru", "lfu"], "lru")


def test_bad_encryption_keys_stop_the_gateway_and_are_not_told() -> None:
    environment = os.environ | {
        "DATABASE_URL": "postgresql://db/zerorate",
        "KEY_PEPPER": "given",
        "CACHE_ENCRYPTION_KEYS": "a:c2hvcnQ=",
    }
    run = subprocess.run(
        [sys.executable, "-c", "import config.gateway"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.endswith("CACHE_ENCRYPTION_KEYS: key 1 has 5 bytes; it needs 32.\n")
    assert "c2hvcnQ" not in run.stderr


def test_a_number_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOICE_DUE_DAYS", "soon")
    with pytest.raises(env.MissingSetting, match="INVOICE_DUE_DAYS must be a whole number, not 'soon'"):
        env.integer("INVOICE_DUE_DAYS", 30)
