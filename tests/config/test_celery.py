"""The schedule names tasks that exist, and the broker is spelled as Celery spells it."""

import pytest

from config.celery import app, broker_options, broker_url
from config.env import MissingSetting


@pytest.mark.parametrize(
    ("redis_url", "broker"),
    [
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("redis://cache:6379/1", "redis://cache:6379/1"),
        ("rediss://user:secret@cache/0", "rediss://user:secret@cache/0"),
        ("redis+sentinel://:pw@a:1,b:2/main/3", "sentinel://:pw@a:1/3;sentinel://:pw@b:2/3"),
    ],
)
def test_the_broker_is_the_same_redis(redis_url: str, broker: str) -> None:
    assert broker_url(redis_url) == broker


def test_celery_is_told_the_masters_name() -> None:
    assert broker_options("redis+sentinel://a:1,b:2/main") == {"master_name": "main"}
    assert broker_options("redis://cache:6379/1") == {}


def test_a_cluster_is_no_broker() -> None:
    with pytest.raises(MissingSetting, match="BROKER_URL"):
        broker_url("redis+cluster://a:1")


def test_every_scheduled_task_exists() -> None:
    app.loader.import_default_modules()
    app.finalize()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert scheduled
    assert scheduled <= set(app.tasks)


def test_a_sweep_that_waits_too_long_is_dropped_before_the_next_one() -> None:
    for name, entry in app.conf.beat_schedule.items():
        if isinstance(entry["schedule"], float):
            assert entry["options"]["expires"] <= entry["schedule"], name
