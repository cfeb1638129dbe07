import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.tokens import MAX_COUNT
from metering.usage_event import (
    COLUMNS,
    HITS,
    OUTCOMES,
    QUALITIES,
    EventIds,
    InvalidUsageEvent,
    UsageEvent,
    check,
    from_json,
    payload_digest,
    seal,
    to_json,
    uuid7_bounds,
)

ROOT = Path(__file__).resolve().parents[2]

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
NOON_NS = 1_795_262_400_123_456_789
EVENT = UsageEvent(
    event_id=UUID(int=7),
    tenant_id=1,
    api_key_id=2,
    request_id=UUID(int=8),
    model="qwen-small",
    model_version="1",
    outcome="exact",
    occurred_at=NOON,
    input=10,
    cache_read=20,
    cache_write=30,
    cache_write_1h=40,
    output=50,
    output_reasoning=5,
    units=3,
    quality="reported",
    source_event=UUID(int=9),
    similarity=0.5,
    latency_us=1234,
    upstream_latency_us=1000,
    status=200,
    raw_usage=b'{"prompt_tokens": 1e2}',
)
OTHERS: dict[str, Any] = {
    "event_id": UUID(int=70),
    "tenant_id": 11,
    "api_key_id": None,
    "request_id": UUID(int=80),
    "model": "qwen-large",
    "model_version": "2",
    "outcome": "coalesced",
    "occurred_at": NOON + timedelta(microseconds=1),
    "input": 11,
    "cache_read": 21,
    "cache_write": 31,
    "cache_write_1h": 41,
    "output": 51,
    "output_reasoning": 6,
    "units": 4,
    "quality": "estimated",
    "source_event": UUID(int=90),
    "status": 201,
}
EVIDENCE = {
    "similarity": 0.25,
    "latency_us": 1,
    "upstream_latency_us": None,
    "payload_digest": b"x",
    "raw_usage": None,
}

counts = st.integers(0, MAX_COUNT)
uuids = st.uuids()
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
events = st.builds(
    UsageEvent,
    event_id=uuids,
    tenant_id=st.integers(1, 2**63 - 1),
    api_key_id=st.none() | st.integers(1, 2**63 - 1),
    request_id=uuids,
    model=texts,
    model_version=texts,
    outcome=st.sampled_from(OUTCOMES),
    occurred_at=st.datetimes(timezones=st.just(UTC)),
    **dict.fromkeys(("input", "cache_read", "cache_write", "cache_write_1h", "units"), counts),
    output=st.just(MAX_COUNT),
    output_reasoning=counts,
    quality=st.sampled_from(QUALITIES),
    source_event=uuids,
    similarity=st.none() | st.floats(0, 1),
    latency_us=counts,
    upstream_latency_us=st.none() | counts,
    status=st.integers(100, 599),
    raw_usage=st.none() | st.binary(),
)


def changed(**fields: Any) -> UsageEvent:
    return msgspec.structs.replace(EVENT, **fields)


class TestDigest:
    @pytest.mark.parametrize("field", OTHERS)
    def test_it_changes_with_everything_that_billing_reads(self, field: str) -> None:
        assert payload_digest(changed(**{field: OTHERS[field]})) != payload_digest(EVENT)

    @pytest.mark.parametrize("field", EVIDENCE)
    def test_it_does_not_change_with_evidence(self, field: str) -> None:
        assert payload_digest(changed(**{field: EVIDENCE[field]})) == payload_digest(EVENT)

    def test_every_column_is_one_or_the_other(self) -> None:
        assert {*OTHERS, *EVIDENCE} == set(COLUMNS)

    def test_it_is_the_same_in_every_time_zone(self) -> None:
        elsewhere = NOON.astimezone(timezone(timedelta(hours=8)))
        assert payload_digest(changed(occurred_at=elsewhere)) == payload_digest(EVENT)

    def test_it_never_changes_between_versions_of_the_code(self) -> None:
        assert (
            payload_digest(EVENT).hex() == "a46a2f0b986fc85e980a2182efc4a2a3869cd11dd8c5fc829879c19da2899a5c"
        )


class TestCheck:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"input": -1}, "input is -1, not between"),
            ({"units": MAX_COUNT + 1}, "units is 1000000000001, not between"),
            ({"output_reasoning": 51}, "output_reasoning is 51 but output is 50"),
            ({"outcome": "hit"}, "outcome 'hit' is none of miss, exact"),
            ({"quality": "good"}, "quality 'good' is none of reported"),
            ({"source_event": None}, r"a hit \(exact\) names no source_event"),
            ({"occurred_at": NOON.replace(tzinfo=None)}, "has no time zone"),
        ],
    )
    def test_what_the_table_would_refuse_is_refused(self, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidUsageEvent, match=message):
            seal(changed(**fields))

    @pytest.mark.parametrize("outcome", sorted({*OUTCOMES} - {*HITS}))
    def test_what_was_computed_needs_no_source(self, outcome: str) -> None:
        check(changed(outcome=outcome, source_event=None))


class TestJson:
    @settings(deadline=None)
    @given(events)
    def test_an_event_comes_back_from_json_as_it_was(self, event: UsageEvent) -> None:
        sealed = seal(event)
        assert from_json(to_json(sealed)) == sealed
        assert sealed.payload_digest == payload_digest(from_json(to_json(event)))

    @pytest.mark.parametrize(
        "fields",
        [
            {"extra": 1},
            {"input": -1},
            {"input": 1.5},
            {"input": "1"},
            {"input": True},
            {"outcome": "hit"},
            {"occurred_at": "2026-11-21T12:00:00"},
            {"event_id": "7"},
            {"latency_us": -1},
        ],
    )
    def test_what_is_no_event_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(InvalidUsageEvent, match="not a usage event: "):
            from_json(json.dumps({**json.loads(to_json(EVENT)), **fields}).encode())

    @pytest.mark.parametrize("text", [b"", b"null", b"[]", b"{}", b'{"event_id": "', b"\xff"])
    def test_what_is_no_json_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidUsageEvent):
            from_json(text)


class TestEventIds:
    def test_an_id_is_a_uuid7_with_its_time_inside(self) -> None:
        event_id = EventIds().next(NOON_NS)
        assert (event_id.version, event_id.variant) == (7, "specified in RFC 4122")
        assert event_id.int >> 80 == NOON_NS // 1_000_000

    @settings(deadline=None)
    @given(st.lists(st.integers(NOON_NS, NOON_NS + 10**9), min_size=2, max_size=50))
    def test_ids_go_up_whatever_the_clock_does(self, clock: list[int]) -> None:
        source = EventIds()
        ids = [source.next(now_ns) for now_ns in clock]
        assert ids == sorted(set(ids))
        assert {event_id.version for event_id in ids} == {7}

    def test_ids_of_many_threads_are_all_different(self) -> None:
        source = EventIds()
        with ThreadPoolExecutor(8) as threads:
            ids = list(threads.map(source.next, [NOON_NS] * 4000))
        assert len(set(ids)) == 4000

    def test_two_sources_agree_on_nothing_but_the_time(self) -> None:
        ids = {EventIds().next(NOON_NS) for _ in range(1000)}
        assert len(ids) == 1000

    def test_the_bound_is_below_every_id_of_its_instant_and_above_those_before(self) -> None:
        instant = datetime(2026, 12, 1, tzinfo=UTC)
        start_ns = int(instant.timestamp()) * 10**9
        bound = uuid7_bounds(instant)
        assert bound == UUID("01a22ee6-b000-7000-8000-000000000000")  # 1,796,083,200,000 ms
        assert EventIds().next(start_ns - 1) < bound <= EventIds().next(start_ns)

    def test_the_bound_needs_a_time_zone(self) -> None:
        with pytest.raises(ValueError, match="has no time zone"):
            uuid7_bounds(NOON.replace(tzinfo=None))


FORK = """
import os
from metering.usage_event import EventIds
if os.fork():
    os.wait()
print(EventIds().next(10**18))
"""


def test_a_forked_child_gives_other_ids() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", FORK], cwd=ROOT, capture_output=True, text=True, check=True
    )
    parents, childs = printed.stdout.split()
    assert parents != childs
