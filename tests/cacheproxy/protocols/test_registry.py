import subprocess
import sys

import pytest

from cacheproxy.protocols.registry import find_route


@pytest.mark.parametrize(
    ("path", "surface", "model"),
    [
        ("/v1/chat/completions", "chat.completions", ""),
        ("/v1/completions", "completions", ""),
        ("/v1/embeddings", "embeddings", ""),
        ("/v1/messages", "messages", ""),
        ("/v1/messages/count_tokens", "messages.count_tokens", ""),
        ("/v1/responses", "responses", ""),
        ("/v1/moderations", "moderations", ""),
        ("/v1/audio/transcriptions", "audio.transcriptions", ""),
        ("/v1/audio/translations", "audio.translations", ""),
        ("/v1/images/generations", "images.generations", ""),
        ("/v1/rerank", "rerank", ""),
        ("/v1/predict/ocr", "predict", "ocr"),
        ("/v2/models/ocr/infer", "infer", "ocr"),
        ("/v2/models/ocr/versions/2/infer", "infer", "ocr"),
        ("/v1/predict/paddle/ocr-v4", "predict", "paddle/ocr-v4"),
    ],
)
def test_a_path_leads_to_a_surface(path: str, surface: str, model: str) -> None:
    route = find_route(path)
    assert route is not None
    assert (route.dialect.surface, route.model) == (surface, model)


@pytest.mark.parametrize(
    "path",
    ["/v1/predict/", "/v1/predict", "/v1/chat/completions/", "/v1/unknown", "/v2", "/v2/models/ocr", ""],
)
def test_or_nowhere(path: str) -> None:
    assert find_route(path) is None


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
