"""The flow of a call: miss, hit, bypass; what the client sees and what is recorded."""

from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, World
from tests.fakes.upstream import FakeUpstream


async def test_a_repeated_call_is_a_hit_that_names_who_paid(
    client: Client, cast: Cast, world: World, upstream: FakeUpstream
) -> None:
    miss = await client.chat()
    hit = await client.chat()

    assert (miss.status, hit.status) == (200, 200)
    assert miss.body == hit.body
    assert len(upstream.received) == 1
    assert miss.headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert hit.headers["cache-status"].startswith("zerorate; hit; ttl=")
    assert hit.headers["cache-status"].endswith("; detail=exact")
    assert hit.headers["age"] == "0"
    assert hit.headers["x-zerorate-source"] == miss.headers["x-request-id"]
    assert miss.headers["x-zerorate-list-cost"] == "0.0000135 USD"
    assert miss.headers["x-zerorate-cost"] == "0.0000135 USD"
    assert miss.headers["x-zerorate-saved"] == "0 USD"
    assert hit.headers["x-zerorate-list-cost"] == "0.0000135 USD"
    assert hit.headers["x-zerorate-cost"] == "0.0000027 USD"
    assert hit.headers["x-zerorate-saved"] == "0.0000108 USD"

    first, second = await world.events()
    assert [str(first["event_id"]), str(second["event_id"])] == [
        miss.headers["x-request-id"],
        hit.headers["x-request-id"],
    ]
    assert [first["outcome"], second["outcome"]] == ["miss", "exact"]
    assert second["source_event"] == first["event_id"]
    assert (first["tenant_id"], first["api_key_id"]) == (cast.acme.id, cast.acme.api_key_id)
    assert [(row["input"], row["output"], row["quality"]) for row in (first, second)] == [
        (12, 5, "reported")
    ] * 2
    assert first["upstream_latency_us"] > 0
    assert second["upstream_latency_us"] is None
