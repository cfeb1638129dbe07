"""The catalog: rows to values, one bad row at a time."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cacheproxy.gateway.catalog.catalog import Catalog

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def model_row(**changes: Any) -> dict[str, Any]:
    return {
        "model": "small",
        "version": "1",
        "retry": "safe",
        "targets": targets({}),
        "cache": "{}",
        "metering": "{}",
    } | changes


def targets(*changes: dict[str, Any]) -> str:
    """Return the view's column: the usual target once for each of the changes to it."""
    usual = {
        "upstream": "local",
        "protocol": "openai",
        "url": "http://127.0.0.1:9100/v1/",
        "upstream_model": "small",
        "api_key_env": "",
        "weight": 1,
        "priority": 0,
        "timeout_seconds": 5,
        "connect_timeout_seconds": 5,
        "first_byte_timeout_seconds": 5,
        "idle_timeout_seconds": 60,
        "breaker_failures": 5,
        "breaker_open_seconds": 10,
    }
    return json.dumps([usual | change for change in changes])


def price(amount: Any, effective_from: str) -> dict[str, Any]:
    return {
        "model": "small",
        "pool": "input",
        "amount": amount,
        "per": 1000,
        "effective_from": effective_from,
    }


def plan_row(**changes: Any) -> dict[str, Any]:
    prices = [price("1", "2026-01-01T00:00:00+00:00"), price("2", "2026-11-21T13:00:00+00:00")]
    row = {
        "plan_id": 1,
        "plan": "standard",
        "currency": "USD",
        "prices": json.dumps(prices),
        "hit_discounts": "[]",
        "limits": "{}",
    }
    return row | changes


def access_row(**changes: Any) -> dict[str, Any]:
    return {
        "api_key_id": 7,
        "public_id": "abc",
        "key_digest": b"d" * 32,
        "tenant_id": 1,
        "tenant_slug": "acme",
        "tenant_status": "active",
        "cache_secret": b"s" * 32,
        "scopes": ["inference"],
        "expires_at": None,
        "revoked_at": None,
        "plan_id": 1,
        "plan_starts_at": NOW,
        "plan_ends_at": NOW + HOUR,
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "concurrent_requests": None,
        "max_output_tokens": None,
        "allowed_models": [],
        "allowed_networks": [],
        "enable_cache": True,
        "keep_content": False,
        "pools": None,
        "budgets": "[]",
    } | changes


def test_a_bad_row_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    catalog = Catalog()
    odd = model_row(model="odd", cache='{"ttl_seconds": "soon"}')
    broken = model_row(model="broken", metering="{")
    float_price = json.dumps([price(1.5, "2026-01-01T00:00:00+00:00")])
    catalog.replace_models([model_row(), odd, broken], [plan_row(), plan_row(plan_id=2, prices=float_price)])

    assert set(catalog.models) == {"small"}
    assert set(catalog.plans) == {1}
    assert "odd" in caplog.text
    assert "broken" in caplog.text


def test_an_unchanged_model_stays_the_same_object() -> None:
    catalog = Catalog()
    catalog.replace_models([model_row(), model_row(model="other")], [])
    before = dict(catalog.models)
    catalog.replace_models([model_row(), model_row(model="other", version="2")], [])

    assert catalog.models["small"] is before["small"]
    assert catalog.models["other"] is not before["other"]


def test_another_upstream_or_metering_rule_is_another_place_in_the_cache() -> None:
    catalog = Catalog()
    rows = [
        model_row(model="a"),
        model_row(model="b", targets=targets({"url": "http://127.0.0.1:9200/v1"})),
        model_row(model="c", metering='{"units": {"per_call": 1}}'),
        model_row(model="d", targets=targets({"upstream_model": "large"})),
    ]
    catalog.replace_models(rows, [])
    assert len({model.upstream_digest for model in catalog.models.values()}) == 4


def test_how_calls_are_spread_is_no_other_place_in_the_cache() -> None:
    catalog = Catalog()
    spare = {"upstream": "spare", "url": "http://127.0.0.1:9200/v1", "priority": 1}
    rows = [
        model_row(model="a", targets=targets({}, spare)),
        model_row(
            model="b", targets=targets(spare | {"weight": 9, "priority": 0}, {"idle_timeout_seconds": 1})
        ),
        model_row(model="c", targets=targets({}, spare, spare | {"upstream": "same server"}), retry="any"),
    ]
    catalog.replace_models(rows, [])
    assert len({model.upstream_digest for model in catalog.models.values()}) == 1


def test_upstreams_keys_are_read_at_every_load_and_missing_ones_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = Catalog()
    row = model_row(targets=targets({"api_key_env": "LOCAL_KEY"}))
    catalog.replace_models([row], [])
    assert catalog.models["small"].targets[0].secret is None
    assert "LOCAL_KEY" in caplog.text
    for secret in ("sk-one", "sk-two"):
        monkeypatch.setenv("LOCAL_KEY", secret)
        catalog.replace_models([row], [])
        assert catalog.models["small"].targets[0].secret == secret
    assert "sk-two" not in repr(catalog.models)


def test_a_tariff_holds_until_the_next_change() -> None:
    catalog = Catalog()
    catalog.replace_models([model_row()], [plan_row()])
    now = catalog.tariff(1, "small", NOW)
    assert now is not None
    assert now.until == NOW + HOUR
    assert catalog.tariff(1, "small", NOW + HOUR - timedelta(microseconds=1)) is now
    later = catalog.tariff(1, "small", NOW + HOUR)
    assert later is not None
    assert later is not now
    assert later.in_force(NOW + 100 * HOUR)


def test_what_is_not_sold_has_no_tariff() -> None:
    catalog = Catalog()
    catalog.replace_models([model_row(), model_row(model="other")], [plan_row()])
    assert catalog.tariff(1, "other", NOW) is None
    assert catalog.tariff(9, "small", NOW) is None
    assert catalog.tariff(1, "small", datetime(2025, 1, 1, tzinfo=UTC)) is None


def test_a_key_has_a_row_for_each_subscription() -> None:
    catalog = Catalog()
    next_one = {"plan_id": 2, "plan_starts_at": NOW + HOUR, "plan_ends_at": None}
    catalog.replace_accesses([access_row(), access_row(**next_one)])
    access = catalog.access(b"d" * 32)
    assert access is not None
    assert access.plan_id_at(NOW - HOUR) is None
    assert access.plan_id_at(NOW) == 1
    assert access.plan_id_at(NOW + HOUR) == 2


def test_a_tenants_rows_replace_that_tenants_only() -> None:
    catalog = Catalog()
    catalog.replace_accesses([access_row(), access_row(tenant_id=2, key_digest=b"e" * 32)])
    catalog.replace_tenant(1, [access_row(key_digest=b"f" * 32)])

    assert catalog.access(b"d" * 32) is None
    assert catalog.access(b"e" * 32) is not None
    assert catalog.access(b"f" * 32) is not None


def test_secrets_stay_out_of_what_is_printed() -> None:
    catalog = Catalog()
    catalog.replace_accesses([access_row()])
    assert "ssss" not in repr(catalog.access(b"d" * 32))
