"""OpenAI's own client when something is wrong: its errors, its retries and its timeouts; what they cost."""

import asyncio
import time
from typing import Any

import openai
import pytest

from tests.clients.conftest import Speaker, openai_client
from tests.clients.stage import Heads, Stage, calls_to, each, eventually, expect_hit, expect_miss, fresh, got
from tests.fakes.openai import chat
from tests.fakes.openai.server import failure
from tests.fakes.upstream import answer, drop, stream


def asking(speaker: Speaker, text: str = "Hello?") -> dict[str, Any]:
    return {"model": speaker.model, "messages": [{"role": "user", "content": fresh(text)}]}


async def ask(speaker: Speaker, asked: dict[str, Any], **options: Any) -> Any:
    return await got(speaker.client.with_options(**options).chat.completions.create(**asked))


async def test_what_the_gateway_refuses_is_the_clients_own_error(stage: Stage, gpt: Speaker) -> None:
    before = stage.event_count()
    for error, code, options, changed in (
        (openai.AuthenticationError, "malformed_api_key", {"api_key": "sk-other"}, {}),
        (openai.PermissionDeniedError, "model_not_in_plan", {}, {"model": "unpriced"}),
        (openai.NotFoundError, "model_not_found", {}, {"model": "unheard-of"}),
        (openai.BadRequestError, "invalid_field", {}, {"messages": []}),
        (openai.BadRequestError, "invalid_field", {}, {"extra_body": {"cache": {"ttl": "soon"}}}),
        (openai.BadRequestError, "invalid_header", {}, {"extra_headers": {"cache-control": "max-age=x"}}),
    ):
        with pytest.raises(error) as caught:
            await ask(gpt, {**asking(gpt), **changed}, **options, max_retries=2)
        assert caught.value.code == code
        assert caught.value.request_id == gpt.heads[-1].request_id
        assert gpt.heads[-1].headers["x-should-retry"] == "false"
    assert [head.status for head in gpt.heads] == [401, 403, 404, 400, 400, 400]
    assert stage.event_count() == before


async def test_a_bad_request_names_its_field(gpt: Speaker) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(gpt, {"model": gpt.model, "messages": "Hello?"})
    assert (caught.value.param, caught.value.type) == ("messages", "invalid_request_error")


async def test_what_the_server_refuses_comes_as_it_is(stage: Stage, gpt: Speaker) -> None:
    stage.openai.then(
        failure(400, "Too hot.", code="decimal_above_max_value", param="temperature"), failure(422, "No.")
    )
    asked, before = asking(gpt), stage.event_count()
    with pytest.raises(openai.BadRequestError, match="Too hot") as caught:
        await ask(gpt, asked)
    assert (caught.value.param, caught.value.code) == ("temperature", "decimal_above_max_value")
    with pytest.raises(openai.UnprocessableEntityError):
        await ask(gpt, asked)
    assert stage.event_count() == before
    assert await ask(gpt, asked)


async def test_a_server_error_is_retried_and_the_answer_costs_once(stage: Stage, gpt: Speaker) -> None:
    stage.openai.then(failure(500, "Oops."))
    asked, before = asking(gpt), stage.event_count()
    with calls_to(stage.openai, 2):
        assert await ask(gpt, asked, max_retries=2)
    assert [head.status for head in gpt.heads] == [500, 200]
    assert stage.event_count() == before + 1
    expect_miss(stage, gpt.heads[1])


async def test_a_server_that_stays_broken_costs_nothing(stage: Stage, gpt: Speaker) -> None:
    stage.openai.then(failure(500, "Oops."), drop(), failure(503, "Later."))
    before = stage.event_count()
    with calls_to(stage.openai, 3), pytest.raises(openai.InternalServerError):
        await ask(gpt, asking(gpt), max_retries=2)
    assert [head.status for head in gpt.heads] == [500, 502, 503]
    assert stage.event_count() == before


async def test_a_refused_operators_key_is_not_the_customers_and_not_retried(
    stage: Stage, gpt: Speaker
) -> None:
    stage.openai.then(failure(401, "Incorrect API key provided: sk-openai."))
    with calls_to(stage.openai, 1), pytest.raises(openai.InternalServerError) as caught:
        await ask(gpt, asking(gpt), max_retries=2)
    assert caught.value.code == "upstream_not_configured"
    assert "sk-openai" not in str(caught.value)


async def test_retry_after_of_the_server_is_honoured(stage: Stage, gpt: Speaker) -> None:
    stage.openai.then(failure(429, "Slow down.", headers={"retry-after-ms": "700", "retry-after": "1"}))
    started, asked = time.monotonic(), asking(gpt)
    with calls_to(stage.openai, 2):
        assert await ask(gpt, asked, max_retries=1)
    assert 0.7 <= time.monotonic() - started < 5
    stage.openai.then(failure(429, "Slow down."))
    with pytest.raises(openai.RateLimitError, match="Slow down"):
        await ask(gpt, asking(gpt))


async def test_retry_after_of_the_gateway_is_honoured(stage: Stage) -> None:
    heads = Heads()
    async with openai_client("async", f"{stage.url}/v1", stage.limited_key, heads) as client:
        speaker = Speaker(client, "gpt", heads)
        with pytest.raises(openai.RateLimitError) as caught:
            await asyncio.gather(*(ask(speaker, asking(speaker)) for _ in range(70)))
        assert caught.value.code == "rate_limit_exceeded"
        assert int(caught.value.response.headers["retry-after"]) == 1
        assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert await ask(speaker, asking(speaker), max_retries=5)
        assert heads[-1].headers["x-ratelimit-limit-requests"] == "60"


async def test_who_gives_up_too_early_finds_the_answer_when_asking_again(stage: Stage, gpt: Speaker) -> None:
    asked, before = asking(gpt), stage.event_count()
    told = chat.reply({**asked, "model": "small"})
    stage.openai.then(answer(told, delay_seconds=1.0))
    with calls_to(stage.openai, 1):
        with pytest.raises(openai.APITimeoutError):
            await ask(gpt, asked, timeout=0.4)
        assert (await ask(gpt, asked, timeout=5)).choices[0].message.content
    await eventually(lambda: stage.event_count() == before + 2)
    assert stage.event(gpt.heads[-1].request_id).outcome in {"coalesced", "exact"}


async def test_a_client_that_retries_its_timeouts_makes_one_call(stage: Stage, gpt: Speaker) -> None:
    asked = asking(gpt)
    stage.openai.then(answer(chat.reply({**asked, "model": "small"}), delay_seconds=1.0))
    with calls_to(stage.openai, 1):
        assert await ask(gpt, asked, timeout=0.8, max_retries=3)


async def test_a_stream_that_fails_raises_and_is_not_kept(stage: Stage, gpt: Speaker) -> None:
    asked = asking(gpt, "Tell me a story")
    events = list(chat.chunks(chat.reply({**asked, "model": "small"}), {"stream_options": None}))
    for cut in (
        stream(*events[:3], whole=False),
        stream(*events[:3], b'data: {"error":{"message":"Oops."}}\n\n'),
    ):
        stage.openai.then(cut)
        with pytest.raises(openai.APIError):
            await each(await ask(gpt, {**asked, "stream": True}))
        (event,) = await eventually(lambda: stage.events(gpt.heads[-1].request_id))
        assert (event.outcome, event.quality) == ("miss", "estimated")
    assert (await ask(gpt, asked)).choices[0].message.content
    expect_miss(stage, gpt.heads[-1])


async def test_a_stream_that_is_closed_in_the_middle_is_drained_and_kept(stage: Stage, gpt: Speaker) -> None:
    asked = asking(gpt, "Tell me a long story " * 20)
    told = chat.reply({**asked, "model": "small"})
    events = list(chat.chunks(told, {"stream_options": {"include_usage": True}}))
    stage.openai.then(stream(*events, pause_seconds=0.005))
    begun = await ask(gpt, {**asked, "stream": True})
    chunks = []
    if isinstance(begun, openai.AsyncStream):
        async for chunk in begun:
            chunks.append(chunk)
            break
    else:
        chunks.append(next(iter(begun)))
    await got(begun.close())
    with calls_to(stage.openai, 0):
        again = await each(await ask(gpt, {**asked, "stream": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in again)
    assert text == told["choices"][0]["message"]["content"]
    (miss,) = await eventually(lambda: stage.events(gpt.heads[0].request_id))
    assert (miss.outcome, miss.quality) == ("miss", "reported")
    assert miss.output == told["usage"]["completion_tokens"]
    assert stage.event(gpt.heads[1].request_id).outcome in {"coalesced", "exact"}
    assert await ask(gpt, asked)
    expect_hit(stage, gpt.heads[2], miss)


async def test_an_idempotency_key_gives_the_first_answer_and_no_second_event(
    stage: Stage, gpt: Speaker
) -> None:
    named = {"extra_headers": {"idempotency-key": fresh("order"), "cache-control": "no-store"}}
    asked = {**asking(gpt), **named}
    with calls_to(stage.openai, 1):
        assert await ask(gpt, asked) == await ask(gpt, asked)
    assert gpt.heads[0].request_id == gpt.heads[1].request_id
    assert stage.event(gpt.heads[0].request_id).outcome == "bypass"
    with pytest.raises(openai.ConflictError) as caught:
        await ask(gpt, {**asking(gpt, "Something else"), **named}, max_retries=2)
    assert caught.value.code == "idempotency_key_reused"
    assert len(gpt.heads) == 3
