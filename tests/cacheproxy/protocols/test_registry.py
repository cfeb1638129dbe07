import subprocess
import sys

import pytest

from cacheproxy.protocols.registry import DIALECTS, ROUTES, Route, find_route


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/chat/completions", Route("openai", "chat.completions")),
        ("/v1/embeddings", Route("openai", "embeddings")),
        ("/v1/predict/ocr", Route("predict", "predict", "ocr")),
        ("/v1/predict/paddle/ocr-v4", Route("predict", "predict", "paddle/ocr-v4")),
        ("/v1/predict/", None),
        ("/v1/predict", None),
        ("/v1/chat/completions/", None),
        ("/v1/unknown", None),
        ("", None),
    ],
)
def test_a_path_leads_to_a_surface_or_nowhere(path: str, route: Route | None) -> None:
    assert find_route(path) == route


def test_every_route_has_its_dialect() -> None:
    assert {route.dialect for route in [*ROUTES.values(), Route("predict", "predict")]} == set(DIALECTS)
    assert all(name == dialect.name for name, dialect in DIALECTS.items())


def test_the_protocols_are_plain() -> None:
    """A fresh interpreter that speaks every protocol has loaded no framework, driver or client."""
    imports = "sys, cacheproxy.protocols.registry, cacheproxy.cache.key, metering.usage_event"
    program = f"import {imports}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    roots = {module.partition(".")[0] for module in done.stdout.split()}
    assert not roots & {
        "django",
        "rest_framework",
        "celery",
        "redis",
        "psycopg",
        "asyncpg",
        "aiohttp",
        "stripe",
    }
