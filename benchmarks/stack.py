"""The servers that a benchmark needs, and rows to serve one tenant."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psycopg

from config.embedded import EmbeddedServers
from tenants import keys

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("ZERORATE_HOME") or ROOT / "var") / "bench"
START_SECONDS = 30


class Served(NamedTuple):
    """A server in a process of its own."""

    port: int
    pid: int


@contextlib.contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Run PostgreSQL and Redis of the benchmarks' own, migrated; yield the environment that names them."""
    embedded = EmbeddedServers(HOME / "servers")
    environment = os.environ | embedded.start() | {"KEY_PEPPER": secrets.token_hex(16)}
    try:
        manage = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(manage, cwd=ROOT, env=environment, check=True)
        yield environment
    finally:
        embedded.release()


def add_tenant(environment: Mapping[str, str], upstream_url: str) -> str:
    """Empty the database, add one tenant with one model in its plan, and return its key."""
    key = keys.generate()
    values = {
        "url": upstream_url,
        "public_id": key.public_id,
        "digest": keys.digest(key.text, environment["KEY_PEPPER"]),
        "secret": secrets.token_bytes(32),
    }
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(
            "TRUNCATE metering_usageevent, tenants_tenant, billing_plan, cacheproxy_upstream,"
            " cacheproxy_servedmodel CASCADE"
        )
        connection.execute(ROWS, values)
    return key.text


ROWS = """
WITH upstream AS (
    INSERT INTO cacheproxy_upstream (name, protocol, url, api_key_env, timeout_seconds, connect_timeout_seconds,
        idle_timeout_seconds, breaker_failures, breaker_open_seconds)
    VALUES ('local', 'openai', %(url)s, '', 10, 5, 60, 5, 10) RETURNING id
), model AS (
    INSERT INTO cacheproxy_servedmodel (name, version, retry, cache, metering, enabled)
    VALUES ('qwen-small', '1', 'safe', '{}', '{}', true) RETURNING id
), target AS (
    INSERT INTO cacheproxy_target (model_id, upstream_id, upstream_model, weight, priority)
    SELECT model.id, upstream.id, 'small', 1, 0 FROM model, upstream
), plan AS (
    INSERT INTO billing_plan (name, currency, created_at) VALUES ('standard', 'USD', now()) RETURNING id
), price AS (
    INSERT INTO billing_price (plan_id, model, pool, amount, per, effective_from, created_at)
    SELECT id, 'qwen-small', pool, 0.5, 1000000, now() - interval '1 day', now()
    FROM plan, unnest(ARRAY['input', 'output']) AS pool
), tenant AS (
    INSERT INTO tenants_tenant (slug, name, status, cache_secret, billing_email, billing_address, created_at)
    VALUES ('acme', 'Acme', 'active', %(secret)s, '', '', now()) RETURNING id
), subscription AS (
    INSERT INTO billing_subscription (tenant_id, plan_id, starts_at)
    SELECT tenant.id, plan.id, now() - interval '1 day' FROM tenant, plan
)
INSERT INTO tenants_apikey (tenant_id, name, public_id, digest, scopes, created_at)
SELECT id, 'bench', %(public_id)s, %(digest)s, ARRAY['inference'], now() FROM tenant
"""


OWN_PROTOCOL = "config.http:Http"


@contextlib.contextmanager
def serving(app: str, environment: Mapping[str, str], *, http: str = OWN_PROTOCOL) -> Iterator[Served]:
    """Serve *app* in one uvicorn process."""
    options = [
        "--loop",
        "uvloop",
        "--http",
        http,
        "--no-proxy-headers",
        "--no-access-log",
        "--log-level",
        "warning",
    ]
    with running("uvicorn", app, *options, "--port", environment=environment) as served:
        yield served


@contextlib.contextmanager
def running(*module: str, environment: Mapping[str, str]) -> Iterator[Served]:
    """Run ``python -m MODULE… PORT`` until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", *module, str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(environment))
    try:
        _wait_for(port)
        yield Served(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")
