"""What may be kept of a call, by its policy: asked once before its upstream is, and once of the answer.

Only misses come here, and where a policy keeps everything they pass. Long texts are looked at in a thread.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.pooling import anonymous
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols import document
from cacheproxy.protocols.request import Answer
from cacheproxy.rules import Rules

MASKED = b"x-zerorate-masked"
"""Of a kept answer, and so of every hit that it gives: the names of what was blotted out."""
THREAD_BYTES = 32_768
"""Longer texts take more than some tenths of a millisecond to look through."""

Value = TypeVar("Value")


async def screened(ask: Ask) -> Ask:
    """Return the call; as one that is not to be kept or shared where its request says what must not be kept."""
    rules = ask.facts.rules
    if rules.screen is None or _masks(ask) or not ask.may_store:
        return ask
    found = await _apart(len(ask.body), lambda: _finds(rules, ask.request().document))
    return ask.unkept() if found else ask


async def to_keep(ask: Ask, parsed: Any, answer: Answer) -> Answer | None:
    """Return an answer, complete and successful, as it may be kept and shared; None where it may not."""
    rules = ask.facts.rules
    if not ask.may_store:
        return None
    kept: Answer | None = answer
    if rules.chooses:
        if not rules.keep(ask.dialect, parsed, len(answer.body)):
            return None
        kept = await _apart(len(answer.body), lambda: _without_sensitive(ask, parsed, answer))
    if ask.facts.pool is None or kept is None:
        return kept
    told = anonymous(ask.dialect, parsed)
    return (
        kept
        if told is parsed
        else kept._replace(body=await _apart(len(answer.body), lambda: document.write(told)))
    )


async def items_to_keep(
    ask: Ask, parsed: Any, items: Mapping[bytes, StoredAnswer]
) -> Mapping[bytes, StoredAnswer]:
    """Return those of a batch's computed items that may be kept; none where there is anything to be masked."""
    rules = ask.facts.rules
    if not ask.may_store:
        return {}
    if not rules.chooses:
        return items
    size = sum(len(item.body) for item in items.values())
    screen = rules.screen
    if not rules.keep(ask.dialect, parsed, 0):
        return {}
    if screen is not None and await _apart(size, lambda: screen.finds_in_answer(parsed)):
        return {}
    most = rules.policy.cacheable.max_bytes
    return {key: item for key, item in items.items() if most is None or len(item.body) <= most}


def still_marked(given: Answer, stored: StoredAnswer) -> Answer:
    """Return a kept answer, given in another form, with what its kept form says was blotted out."""
    marks = [header for header in stored.headers if header[0] == MASKED and header not in given.headers]
    return given._replace(headers=(*given.headers, *marks)) if marks else given


def _masks(ask: Ask) -> bool:
    """Return whether what is sensitive is blotted out; a pool gets nothing of what has any."""
    return ask.facts.rules.masks and ask.facts.pool is None


def _finds(rules: Rules, said: Any) -> bool:
    return rules.screen is not None and rules.screen.finds(said)


def _without_sensitive(ask: Ask, parsed: Any, answer: Answer) -> Answer | None:
    screen = ask.facts.rules.screen
    if screen is None:
        return answer
    written = _is_written(answer, parsed)
    if not screen.finds_in_answer(parsed) and (written or not screen.finds(answer.body)):
        return answer
    masked = screen.masked(parsed) if written and _masks(ask) else None
    if masked is None:
        return None
    body = masked.said.encode() if isinstance(masked.said, str) else document.write(masked.said)
    return Answer((*answer.headers, (MASKED, ", ".join(sorted(masked.names)).encode())), body)


def _is_written(answer: Answer, parsed: Any) -> bool:
    """Return whether what was parsed of an answer is all of it: a text, or JSON with nothing behind it."""
    kind = dict(answer.headers).get(b"content-type", b"json")
    return isinstance(parsed, str) or (not isinstance(parsed, bytes) and b"octet-stream" not in kind)


async def _apart(size: int, look: Callable[[], Value]) -> Value:
    """Return what *look* finds in so many bytes, without keeping the event loop from its other calls."""
    return look() if size <= THREAD_BYTES else await asyncio.to_thread(look)
