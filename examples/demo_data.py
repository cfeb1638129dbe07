"""What `manage.py up` starts with: two model servers, a catalog, three customers and a day of calls.

`prepare` runs before the stack. `python -m examples.demo_data --url URL` runs once it serves: it makes the calls,
unless the customers have some already. Their API keys are kept in `demo-keys.json` under the home.
"""

import argparse
import asyncio
import io
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from examples import calls, child, workload

CATALOGS = Path(__file__).parent / "catalogs"
UPSTREAMS = {"demo.yaml": ("ocr_server", 9100), "chat.yaml": ("chat_server", 9101)}
TENANTS = ("acme", "globex", "initech")
UPSTREAM_SECONDS = 120


def prepare(home: Path) -> dict[str, list[str]]:
    """Apply the example catalogs and return the commands of their upstreams by name."""
    from django.core.management import call_command

    commands = {}
    for catalog, (module, usual_port) in UPSTREAMS.items():
        port = child.free_port(preferred=usual_port)
        written = home / f"catalog-{catalog}"
        write_catalog(catalog, written, ports={usual_port: port})
        call_command("apply", str(written), stdout=io.StringIO())
        commands[module.removesuffix("_server")] = [sys.executable, *upstream_command(module, port)]
    return commands


def upstream_command(module: str, port: int) -> list[str]:
    """Return what follows `python` to run an example upstream."""
    return ["-m", f"examples.upstreams.{module}", "--port", str(port)]


def write_catalog(name: str, target: Path, *, ports: Mapping[int, int]) -> None:
    """Write the example catalog `name` to `target`, with its upstreams not at their usual ports but at these."""
    text = (CATALOGS / name).read_text(encoding="utf-8")
    for usual, port in ports.items():
        text = re.sub(rf"127\.0\.0\.1:{usual}\b", f"127.0.0.1:{port}", text)
    target.write_text(text, encoding="utf-8")


def issue_key(tenant: str) -> str:
    """Return a new API key of a tenant, as `manage.py issue_key` prints it."""
    from django.core.management import call_command

    output = io.StringIO()
    call_command("issue_key", tenant=tenant, name="Demo", stdout=output)
    return output.getvalue().strip()


def kept_keys(home: Path) -> dict[str, str]:
    """Return an API key of each demo customer: the same ones at every start of the same home."""
    path = home / "demo-keys.json"
    if not path.exists():
        keys = {tenant: issue_key(tenant) for tenant in TENANTS}
        path.touch(mode=0o600)
        path.write_text(json.dumps(keys))
    return dict(json.loads(path.read_text()))


def make_calls(url: str, keys: dict[str, str]) -> None:
    """Wait for the OCR server and send it the workload through the gateway at `url`."""
    from cacheproxy.models import Upstream

    upstream = Upstream.objects.get(name="ocr").url.removesuffix("/predict")
    deadline = time.monotonic() + UPSTREAM_SECONDS
    while not child.answers(f"{upstream}/health"):
        if time.monotonic() > deadline or not child.answers(f"{url}/healthz"):
            raise child.ChildError(f"the OCR server at {upstream} does not answer")
        time.sleep(child.POLL_SECONDS)
    uploads = workload.uploads(seed=1, now=datetime.now(UTC))
    asyncio.run(calls.send(uploads, url=url, keys=keys, on_answer=lambda: None))
    print(f"{len(uploads)} demo calls were made; the next roll-up shows them.", flush=True)


def main() -> None:
    """Print the API keys and make the calls where there are none yet."""
    parser = argparse.ArgumentParser(description="Make the demo calls against a running stack.")
    parser.add_argument("--url", required=True, help="root of the stack, such as http://127.0.0.1:8000")
    url = parser.parse_args().url
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    from django.conf import settings

    from metering.models import UsageEvent

    keys = kept_keys(settings.HOME)
    for tenant, key in keys.items():
        print(f"  API key of {tenant:8} {key}", flush=True)
    if UsageEvent.objects.exists():
        return
    try:
        make_calls(url, keys)
    except (aiohttp.ClientError, calls.CallFailed, child.ChildError) as error:
        sys.exit(f"The demo calls stopped: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
