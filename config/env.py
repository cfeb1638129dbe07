"""The environment, read in one place.

Every secret may also be given as ``NAME_FILE``, the path of a file that holds it (as Docker and
Kubernetes mount them). Without ``DATABASE_URL`` the embedded servers are in use and secrets are made
once and kept under ``ZERORATE_HOME``; with it this is taken for production and a missing secret stops
the start.
"""

import json
import os
import secrets as random_secrets
from collections.abc import Sequence
from pathlib import Path

SECRET_NAMES = ("SECRET_KEY", "KEY_PEPPER")
DEFAULT_ROLE = "zerorate_app"
DEFAULT_MAX_BODY_BYTES = 20 * 1024 * 1024
DEFAULT_MEMORY_CACHE_BYTES = 256 * 1024 * 1024
DEFAULT_ASSUMED_OUTPUT_TOKENS = 1024
DEFAULT_LIMIT_LEASE_SECONDS = 60
ROOT = Path(__file__).resolve().parent.parent


class MissingSetting(Exception):
    """A setting that must be given is missing; the message is one line that names it."""


def text(name: str, default: str = "") -> str:
    """Return the variable *name*, or the content of the file that ``NAME_FILE`` names.

    Raises:
        MissingSetting: ``NAME_FILE`` names a file that cannot be read.
    """
    value = os.environ.get(name)
    if value is not None:
        return value
    path = os.environ.get(f"{name}_FILE")
    if path is None:
        return default
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise MissingSetting(f"{name}_FILE: cannot read {path}: {error.strerror}.") from error


def integer(name: str, default: int) -> int:
    """Return the variable *name* as a whole number.

    Raises:
        MissingSetting: it is set to something that is no whole number.
    """
    raw = text(name)
    if not raw:
        return default
    try:
        return int(raw)
    except ValueError as error:
        raise MissingSetting(f"{name} must be a whole number, not {raw!r}.") from error


def choice(name: str, choices: Sequence[str], default: str) -> str:
    """Return the variable *name*, which is one of *choices*.

    Raises:
        MissingSetting: it is set to something else.
    """
    value = text(name) or default
    if value not in choices:
        raise MissingSetting(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def items(name: str, default: str = "") -> list[str]:
    """Return the comma-separated variable *name* as a list, without empty entries."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def home() -> Path:
    """Return where the embedded servers and everything made at run time live."""
    return Path(os.environ.get("ZERORATE_HOME") or ROOT / "var").resolve()


def is_embedded() -> bool:
    """Return whether the embedded database is in use, which makes this no production."""
    return not text("DATABASE_URL") or text("ZERORATE_EMBEDDED") == "1"


def secret(name: str) -> str:
    """Return the secret *name*; the embedded stack makes one and keeps it.

    Raises:
        MissingSetting: it is missing in production.
    """
    value = text(name)
    if value:
        return value
    if not is_embedded():
        raise MissingSetting(f"{name} is not set: give it as {name} or {name}_FILE.")
    return _kept_secrets()[name]


def _kept_secrets() -> dict[str, str]:
    path = home() / "secrets.json"
    try:
        kept: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        kept = {}
    if all(name in kept for name in SECRET_NAMES):
        return kept
    kept = {name: random_secrets.token_urlsafe(48) for name in SECRET_NAMES} | kept
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.{os.getpid()}")
    written.touch(mode=0o600)
    written.write_text(json.dumps(kept))
    try:
        os.link(written, path)  # fails where another process was first: its secrets count
    except FileExistsError:
        kept = json.loads(path.read_text())
    finally:
        written.unlink()
    return kept
