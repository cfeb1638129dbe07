"""The flow of a call: miss, hit, bypass; what the client sees and what is recorded."""

import asyncio

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer

SET_CACHE = "UPDATE cacheproxy_servedmodel SET cache = $1 WHERE name = 'qwen-small'"


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


async def test_another_spelling_of_the_same_request_is_a_hit(client: Client, upstream: FakeUpstream) -> None:
    await client.post(
        "/v1/chat/completions",
        b'{"model":"qwen-small","messages":[{"role":"user","content":"Hi"}],"top_k":3}',
    )
    hit = await client.post(
        "/v1/chat/completions",
        b'{ "top_k": 3,\n "messages": [{"content": "Hi", "role": "user"}], "user": "u-7", "model": "qwen-small" }',
    )

    assert "; hit;" in hit.headers["cache-status"]
    assert len(upstream.received) == 1


async def test_what_decides_the_answer_is_never_shared(
    client: Client, stranger: Client, upstream: FakeUpstream
) -> None:
    await client.chat("Hi")
    for other in (
        await client.chat("hi"),
        await client.chat("Hi", top_k=4),
        await stranger.chat("Hi"),
        await client.chat("Hi", headers={"x-zerorate-session": "s-1"}),
    ):
        assert other.headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert len(upstream.received) == 5


async def test_no_cache_asks_again_and_refreshes(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer("old")), answer(chat_answer("new")))
    await client.chat()
    refreshed = await client.chat(headers={"cache-control": "no-cache"})
    hit = await client.chat()

    assert refreshed.headers["cache-status"] == "zerorate; fwd=bypass; stored"
    assert refreshed.headers["x-zerorate-cost"] == refreshed.headers["x-zerorate-list-cost"]
    assert hit.body == refreshed.body
    assert b"new" in hit.body
    assert [row["outcome"] for row in await world.events()] == ["miss", "bypass", "exact"]


async def test_no_store_neither_reads_nor_writes(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    first = await client.chat(headers={"cache-control": "no-store"})
    second = await client.chat()
    third = await client.chat(headers={"cache-control": "No-Store"})

    assert first.headers["cache-status"] == "zerorate; fwd=bypass"
    assert second.headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert third.headers["cache-status"] == "zerorate; fwd=bypass"
    assert len(upstream.received) == 3
    assert [row["outcome"] for row in await world.events()] == ["bypass", "miss", "bypass"]


async def test_max_age_refuses_what_is_older(client: Client) -> None:
    await client.chat()
    assert "; hit;" in (await client.chat(headers={"cache-control": "max-age=60"})).headers["cache-status"]
    await asyncio.sleep(1.1)
    older = await client.chat(headers={"cache-control": "max-age=0"})
    assert older.headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_a_broken_max_age_is_refused(client: Client, world: World) -> None:
    refused = await client.chat(headers={"cache-control": "max-age=soon"})

    assert (refused.status, refused.code) == (400, "invalid_header")
    assert await world.events() == []


async def test_only_if_cached_never_asks_the_upstream(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    headers = {"cache-control": "only-if-cached"}
    refused = await client.chat(headers=headers)
    assert (refused.status, refused.code) == (504, "not_cached")
    assert refused.headers["x-should-retry"] == "false"
    assert await world.events() == []
    assert upstream.received == []

    await client.chat()
    assert (await client.chat(headers=headers)).status == 200


async def test_a_stateful_call_is_not_cached(client: Client, world: World, upstream: FakeUpstream) -> None:
    for _ in range(2):
        assert (await client.chat(store=True)).headers["cache-status"] == "zerorate; fwd=bypass"
    assert len(upstream.received) == 2
    assert [row["outcome"] for row in await world.events()] == ["bypass", "bypass"]


async def test_an_answer_expires(client: Client, world: World, upstream: FakeUpstream) -> None:
    await world.sql.execute(SET_CACHE, '{"ttl_seconds": 1}')
    await asyncio.sleep(0.2)
    await client.chat()
    await asyncio.sleep(1.05)
    assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_a_new_version_never_serves_an_old_answer(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    await client.chat()
    await world.sql.execute("UPDATE cacheproxy_servedmodel SET version = '2' WHERE name = 'qwen-small'")
    await asyncio.sleep(0.2)
    assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert [row["model_version"] for row in await world.events()] == ["1", "2"]


async def test_a_session_scoped_model_shares_within_a_session_only(client: Client, world: World) -> None:
    await world.sql.execute(SET_CACHE, '{"scope": "session"}')
    await asyncio.sleep(0.2)
    statuses = [
        (await client.chat(headers={"x-zerorate-session": session} if session else {})).headers[
            "cache-status"
        ]
        for session in ("a", "a", "b", "", "")
    ]
    assert statuses[0] == "zerorate; fwd=miss; stored"
    assert "; hit;" in statuses[1]
    assert statuses[2:] == ["zerorate; fwd=miss; stored", "zerorate; fwd=bypass", "zerorate; fwd=bypass"]


async def test_a_key_scoped_model_shares_between_calls_of_one_key_only(
    client: Client, world: World, cast: Cast
) -> None:
    await world.sql.execute(SET_CACHE, '{"scope": "key"}')
    _, other = await world.add_key(cast.acme.id)
    await asyncio.sleep(0.2)
    await client.chat()
    assert "; hit;" in (await client.chat()).headers["cache-status"]
    assert (
        "fwd=miss"
        in (await client.chat(headers={"authorization": f"Bearer {other}"})).headers["cache-status"]
    )


async def test_embeddings_are_cached_and_counted(client: Client, world: World) -> None:
    request = {"model": "embedder", "input": ["a", "b"]}
    miss = await client.post("/v1/embeddings", request)
    hit = await client.post("/v1/embeddings", request)

    assert miss.body == hit.body
    assert "; hit;" in hit.headers["cache-status"]
    assert [(row["input"], row["output"]) for row in await world.events()] == [(4, 0), (4, 0)]


async def test_predict_ignores_volatile_fields_and_keeps_the_path(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    miss = await client.post("/v1/predict/ocr", {"image": "aGk=", "request_id": 1})
    hit = await client.post("/v1/predict/ocr", {"request_id": 2, "image": "aGk="})
    other = await client.post("/v1/predict/ocr", {"image": "aGo=", "request_id": 1})

    assert (miss.status, hit.status, other.status) == (200, 200, 200)
    assert miss.body == hit.body
    assert upstream.received[0].path == "/predict"
    assert [row["outcome"] for row in await world.events()] == ["miss", "exact", "miss"]
    assert [(row["input"], row["output"]) for row in await world.events()] == [(7, 3)] * 3


async def test_the_upstream_sees_its_own_key_and_nothing_of_ours(
    client: Client, world: World, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_KEY", "sk-operator")
    await world.sql.execute(
        "UPDATE cacheproxy_upstream SET api_key_env = 'LOCAL_KEY' WHERE name = 'qwen-small-server'"
    )
    await asyncio.sleep(0.2)
    await client.chat(
        headers={"cookie": "a=b", "x-zerorate-session": "s", "x-custom": "c", "accept-encoding": "gzip, br"}
    )

    sent = upstream.received[0].headers
    assert sent["authorization"] == "Bearer sk-operator"
    assert sent["accept-encoding"] == "identity"
    assert not {"cookie", "x-zerorate-session", "x-custom", "x-api-key"} & set(sent)
    assert client.key not in str(upstream.received[0])
    assert upstream.received[0].document["model"] == "small"


async def test_a_gateway_of_its_own_finds_the_answer_in_redis(
    client: Client, gateway_settings: GatewaySettings, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> None:
    miss = await client.chat()
    async with serving(gateway_settings) as (_, other_url):
        hit = await Client(session, other_url, client.key).chat()

    assert "; hit;" in hit.headers["cache-status"]
    assert hit.headers["x-zerorate-source"] == miss.headers["x-request-id"]
    assert len(upstream.received) == 1


async def test_without_redis_calls_are_served_all_the_same(
    gateway_settings: GatewaySettings, cast: Cast, session: aiohttp.ClientSession, world: World
) -> None:
    async with serving(msgspec.structs.replace(gateway_settings, redis_url="redis://127.0.0.1:9/0")) as (
        _,
        url,
    ):
        client = Client(session, url, cast.acme.key)
        assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"
        assert "; hit;" in (await client.chat()).headers["cache-status"]
    assert len(await world.events()) == 2


async def test_a_unpriced_pool_has_no_cost_headers(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
    await world.sql.execute("ALTER TABLE billing_price DISABLE TRIGGER USER")
    await world.sql.execute("DELETE FROM billing_price WHERE pool = 'cache_read'")
    await world.sql.execute("ALTER TABLE billing_price ENABLE TRIGGER USER")
    await world.sql.execute("NOTIFY zerorate_catalog")
    await asyncio.sleep(0.2)
    upstream.then(answer(chat_answer(usage=usage)))

    miss = await client.chat()
    assert miss.status == 200
    assert "x-zerorate-cost" not in miss.headers
    assert [(row["input"], row["cache_read"]) for row in await world.events()] == [(9, 3)]


async def test_a_compressed_body_is_refused(client: Client, upstream: FakeUpstream) -> None:
    refused = await client.chat(headers={"content-encoding": "gzip"})
    assert (refused.status, refused.code) == (415, "unsupported_encoding")
    assert upstream.received == []


async def test_only_if_cached_where_nothing_is_ever_cached(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await world.sql.execute("""UPDATE cacheproxy_servedmodel SET cache = '{"enabled": false}'""")
    await asyncio.sleep(0.2)
    refused = await client.chat(headers={"cache-control": "only-if-cached"})
    assert (refused.status, refused.code) == (504, "not_cached")
    assert upstream.received == []
