"""The API tells about itself, without help from other hosts."""

import contextlib
import re
from urllib.parse import urlsplit

import pytest
import yaml
from django.test import Client


def test_the_schema_names_every_action(client: Client) -> None:
    schema = yaml.safe_load(client.get("/api/v1/schema").content)
    assert set(schema["paths"]) == {
        "/api/v1/usage",
        "/api/v1/usage.csv",
        "/api/v1/invoices",
        "/api/v1/invoices/{number}",
        "/api/v1/invoices/{number}.pdf",
        "/api/v1/invoices/{number}.html",
        "/api/v1/cache/invalidations",
        "/api/v1/cache/statistics",
    }


def test_either_header_carries_the_key(client: Client) -> None:
    schema = yaml.safe_load(client.get("/api/v1/schema").content)
    for path in schema["paths"].values():
        assert path["get"]["security"][-2:] == [{"bearer": []}, {"x-api-key": []}]


def test_every_action_tells_of_problems(client: Client) -> None:
    schema = yaml.safe_load(client.get("/api/v1/schema").content)
    for path in schema["paths"].values():
        assert "application/problem+json" in path["get"]["responses"]["default"]["content"]


def assets_of(page: str) -> list[str]:
    return re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)


def test_the_page_loads_nothing_from_other_hosts(client: Client) -> None:
    assets = assets_of(client.get("/api/v1/docs").content.decode())
    assert len(assets) >= 3
    assert {urlsplit(asset).netloc for asset in assets} == {""}


@pytest.mark.django_db  # closing a file's answer looks at the connections that earlier tests left open
def test_what_the_page_loads_is_there(client: Client) -> None:
    for asset in assets_of(client.get("/api/v1/docs").content.decode()):
        with contextlib.closing(client.get(asset)) as response:
            assert response.status_code == 200, asset
            assert response.getvalue(), asset
