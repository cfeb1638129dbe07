"""LitServe behind the gateway: embeddings by OpenAI's API, and LitServe's own `predict`; see docs/systems."""

import asyncio
import json
from collections.abc import Sequence
from math import fsum

from examples.systems.gateway import Answer, Gateway, expect
from examples.systems.system import Server, System

EMBEDDINGS = "/v1/embeddings"
SIMILARITY = "/v1/predict/similarity"
HOURS = "When does the library open on Saturdays?"
REWORDED = "What time does the library open on a Saturday?"
CARD = "How do I renew my library card?"
PRINTER = "Is there a printer on the second floor?"
BIKES = "Where can I leave my bicycle?"
TEXTS = [HOURS, REWORDED, CARD]


async def calls(gateway: Gateway) -> None:
    """Embed lists that overlap, and weigh texts against queries."""
    await _embeddings(gateway)
    await _similarities(gateway)


async def _embeddings(gateway: Gateway) -> None:
    first = await _embed(gateway, "three texts", "miss", TEXTS)
    again = await _embed(gateway, "the same three", "exact", TEXTS)
    hours, reworded, card = vectors = _vectors(first)
    expect(that=vectors == _vectors(again), otherwise="the stored vectors are others")
    expect(
        that=_cosine(hours, reworded) > 0.9 > _cosine(hours, card), otherwise="these are no vectors of MiniLM"
    )
    alone = await _embed(gateway, "one of them, alone", "exact", CARD)
    expect(that=_vectors(alone) == [card], otherwise="a text alone has another vector than in a list")
    mixed = await _embed(gateway, "two of them, two new ones", "partial", [PRINTER, CARD, BIKES, HOURS])
    expect(that=_vectors(mixed)[1::2] == [card, hours], otherwise="the list came in another order")
    await _embed(gateway, "in capitals", "miss", CARD.upper())
    at_once = [_embed(gateway, "four at once", "miss coalesced exact", "Who is there?") for _ in range(4)]
    computed = [answer.outcome for answer in await asyncio.gather(*at_once)].count("miss")
    expect(that=computed == 1, otherwise=f"of four identical calls at once {computed} were computed")


async def _similarities(gateway: Gateway) -> None:
    query = "opening hours at the weekend"
    asked = {"query": query, "texts": TEXTS, "trace": "a"}
    first = await gateway.ask("a query, three texts", SIMILARITY, expected="miss", json=asked)
    hours, _, card = json.loads(first.body)["similarities"]
    expect(that=hours > card, otherwise=f"the hours are {hours} close, the card {card}")
    asked = {"texts": [*TEXTS, PRINTER], "trace": "b", "query": query}
    more = await gateway.ask("one text more, another trace", SIMILARITY, expected="partial", json=asked)
    known = json.loads(more.body)["similarities"][:3]
    expect(
        that=known == json.loads(first.body)["similarities"],
        otherwise=f"{more.body!r} forgets {first.body!r}",
    )
    asked = {"query": "printing", "texts": TEXTS}
    await gateway.ask("another query, the same texts", SIMILARITY, expected="miss", json=asked)


async def _embed(gateway: Gateway, step: str, expected: str, texts: str | Sequence[str]) -> Answer:
    asked = {"model": "all-minilm", "input": texts}
    return await gateway.ask(step, EMBEDDINGS, expected=expected, json=asked)


def _vectors(answer: Answer) -> list[list[float]]:
    return [item["embedding"] for item in json.loads(answer.body)["data"]]


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    return fsum(a * b for a, b in zip(left, right, strict=True))


SYSTEM = System(
    title="Embeddings and predictions on LitServe",
    catalog="embeddings.yaml",
    servers=(Server("embedding_server", 9105),),
    tenant="library",
    calls=calls,
)
