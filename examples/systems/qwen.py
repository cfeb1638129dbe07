"""One Qwen model that serves a classifier and a dialogue, each under its own policy; see docs/systems."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from examples.systems.gateway import Answer, Gateway, expect
from examples.systems.system import Server, System

CHAT = "/v1/chat/completions"
LABELS = ["positive", "neutral", "negative"]
PRAISE = "The parcel came a day early and the driver was friendly."
QUESTION = "Where is my parcel 4711?"
REWORDED = "Can you tell me where my parcel 4711 is?"
ANOTHER = "Can you tell me where my parcel 4712 is?"
ANNE, BEN = {"X-Zerorate-Session": "anne"}, {"X-Zerorate-Session": "ben"}


async def calls(gateway: Gateway) -> None:
    """Label sentences and answer questions, most of it twice."""
    await _sentiment(gateway)
    await gateway.settled()
    await _dialogue(gateway)
    await _at_once(gateway)


async def _sentiment(gateway: Gateway) -> None:
    first = await _label(gateway, "a sentence to label", "miss")
    expect(that=_said(first) in LABELS, otherwise=f"'{_said(first)}' is no label")
    again = await _label(gateway, "again", "exact")
    expect(that=_said(again) == _said(first), otherwise="the stored label is another")
    await _label(gateway, "in a session: its own answers", "miss", headers=ANNE)
    streamed = await _label(gateway, "again, as a stream", "exact", stream=True)
    expect(that=_streamed(streamed) == _said(first), otherwise=f"the stream says {streamed.body!r}")
    await _label(gateway, "without its full stop", "miss", text=PRAISE.rstrip("."))
    await _label(gateway, "with other labels", "miss", labels=LABELS[::2])


async def _dialogue(gateway: Gateway) -> None:
    first = await _say(gateway, "Anne asks", "miss", QUESTION, headers=ANNE)
    again = await _say(gateway, "Anne asks again", "exact", QUESTION, headers=ANNE)
    expect(that=again.body == first.body, otherwise="the stored answer is another")
    streamed = await _say(gateway, "Anne again, as a stream", "exact", QUESTION, headers=ANNE, stream=True)
    expect(that=_streamed(streamed) == _said(first), otherwise=f"the stream says {streamed.body!r}")
    await asyncio.sleep(0.5)  # a question is kept behind its call
    reworded = await _say(gateway, "Anne in other words", "semantic", REWORDED, headers=ANNE)
    expect(that=reworded.body == first.body, otherwise="the answer to other words is another")
    await _say(gateway, "Anne asks for another parcel", "miss", ANOTHER, headers=ANNE)
    told = [QUESTION, _said(first), "And the other one?"]
    await _say(gateway, "Anne goes on", "miss", *told, headers=ANNE)
    await _say(gateway, "Anne goes on, again", "exact", *told, headers=ANNE)
    await _say(gateway, "Ben in Anne's other words", "miss", REWORDED, headers=BEN)
    for _ in "ab":
        await _say(gateway, "somebody without a session", "bypass", QUESTION)


async def _at_once(gateway: Gateway) -> None:
    question = "Do you deliver on Sundays?"
    at_once = [_say(gateway, "four at once", "miss coalesced exact", question, headers=BEN) for _ in range(4)]
    computed = [answer.outcome for answer in await asyncio.gather(*at_once)].count("miss")
    expect(that=computed == 1, otherwise=f"of four identical calls at once {computed} were computed")


async def _label(
    gateway: Gateway,
    step: str,
    expected: str,
    *,
    text: str = PRAISE,
    labels: Sequence[str] = LABELS,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Answer:
    messages = [
        {"role": "system", "content": "What does the customer feel?"},
        {"role": "user", "content": text},
    ]
    asked = {"model": "qwen", "messages": messages, "structured_outputs": {"choice": labels}, **fields}
    return await gateway.ask(step, CHAT, expected=expected, json=asked, headers=headers)


async def _say(
    gateway: Gateway,
    step: str,
    expected: str,
    *turns: str,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Answer:
    """Say what was said so far, the customer's turn first and last."""
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": turn} for place, turn in enumerate(turns)]
    asked = {"model": "qwen", "messages": messages, "temperature": 0, "max_tokens": 24, **fields}
    return await gateway.ask(step, CHAT, expected=expected, json=asked, headers=headers)


def _said(answer: Answer) -> str:
    return str(json.loads(answer.body)["choices"][0]["message"]["content"])


def _streamed(answer: Answer) -> str:
    events = [json.loads(line[6:]) for line in answer.body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


SYSTEM = System(
    title="A classifier and a dialogue from one Qwen model",
    catalog="qwen.yaml",
    servers=(Server("qwen_server", 9104, environment="qwen"),),
    tenant="parcels",
    calls=calls,
)
