"""What the database holds of targets, whoever writes them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from cacheproxy.models import ServedModel, Target, Upstream


def add_upstream(name: str, protocol: str, **values: Any) -> Upstream:
    return Upstream.objects.create(name=name, protocol=protocol, url="http://127.0.0.1:9100/v1", **values)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "field",
    ["timeout_seconds", "connect_timeout_seconds", "first_byte_timeout_seconds", "idle_timeout_seconds",
     "breaker_failures", "breaker_open_seconds"],
)  # fmt: skip
def test_a_limit_is_at_least_one(field: str) -> None:
    with pytest.raises(IntegrityError, match="in_bounds"):
        add_upstream("local", "openai", **{field: 0})


@pytest.mark.django_db
@pytest.mark.parametrize("values", [{"weight": 0}, {"priority": -1}])
def test_weights_and_priorities_have_bounds(values: dict[str, int]) -> None:
    model = ServedModel.objects.create(name="small")
    with pytest.raises(IntegrityError, match="in_bounds"):
        model.targets.create(upstream=add_upstream("local", "openai"), **values)


@pytest.mark.django_db
def test_a_target_is_named_once() -> None:
    model, upstream = ServedModel.objects.create(name="small"), add_upstream("local", "openai")
    model.targets.create(upstream=upstream)
    model.targets.create(upstream=upstream, upstream_model="other")
    with pytest.raises(IntegrityError, match="target_once"):
        model.targets.create(upstream=upstream)


def mixed_by_a_target() -> None:
    ServedModel.objects.get().targets.create(upstream=add_upstream("third", "oip"))


def mixed_by_an_upstream() -> None:
    Upstream.objects.filter(name="first").update(protocol="predict")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mix", [mixed_by_a_target, mixed_by_an_upstream])
def test_targets_of_one_model_speak_one_protocol(mix: Callable[[], None]) -> None:
    model = ServedModel.objects.create(name="small")
    for name in ("first", "second"):
        model.targets.create(upstream=add_upstream(name, "openai"))
    with pytest.raises(IntegrityError, match="the targets of model small speak different protocols"):
        mix()


@pytest.mark.django_db(transaction=True)
def test_one_transaction_may_move_all_of_them() -> None:
    model = ServedModel.objects.create(name="small")
    for name in ("first", "second"):
        model.targets.create(upstream=add_upstream(name, "openai"))
    with transaction.atomic():
        for upstream in Upstream.objects.all():
            upstream.protocol = Upstream.Protocol.ANTHROPIC
            upstream.save()
    assert set(Target.objects.values_list("upstream__protocol", flat=True)) == {"anthropic"}


ROWS_BEFORE = """
INSERT INTO cacheproxy_upstream (name, protocol, url, api_key_env, timeout_seconds)
VALUES ('local', 'openai', 'http://127.0.0.1:9100/v1', '', 30);
INSERT INTO cacheproxy_servedmodel (name, upstream_id, upstream_model, version, cache, metering, enabled)
SELECT 'small', id, 'tiny', '1', '{}', '{}', true FROM cacheproxy_upstream;
SET CONSTRAINTS ALL IMMEDIATE;
"""
ROWS_AFTER = """
SELECT m.name, u.name, t.upstream_model, t.weight, t.priority, m.retry, u.timeout_seconds, u.idle_timeout_seconds
FROM cacheproxy_target t
JOIN cacheproxy_servedmodel m ON m.id = t.model_id
JOIN cacheproxy_upstream u ON u.id = t.upstream_id
"""


@pytest.mark.django_db
def test_models_keep_their_upstream_when_targets_are_brought_in() -> None:
    """The tables as they were are made by hand; the test's own transaction takes all of it back."""
    loader = MigrationExecutor(connection).loader
    before = loader.project_state([("cacheproxy", "0002_gateway_views")])
    with connection.schema_editor() as editor:
        for table in ("target", "servedmodel", "upstream"):
            editor.execute(f"DROP TABLE cacheproxy_{table} CASCADE")
        editor.execute("DROP FUNCTION cacheproxy_one_protocol")
        editor.execute("DROP VIEW IF EXISTS gateway_catalog")
        editor.execute("CREATE VIEW gateway_catalog AS SELECT 1")
        for name in ("Upstream", "ServedModel"):
            editor.create_model(before.apps.get_model("cacheproxy", name))
    with connection.cursor() as cursor:
        cursor.execute(ROWS_BEFORE)
        with connection.schema_editor() as editor:
            loader.get_migration("cacheproxy", "0003_targets").apply(before, editor)
        cursor.execute(ROWS_AFTER)
        assert cursor.fetchall() == [("small", "local", "tiny", 1, 0, "safe", 30, 60)]
