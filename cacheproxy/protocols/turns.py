"""The last turn of a conversation, as the one part of a request that may be worded otherwise."""

from collections.abc import Collection
from typing import Any

import msgspec

from cacheproxy.protocols import document
from cacheproxy.protocols.request import InferenceRequest, Wording


def wording_of(request: InferenceRequest, field: str, *, kinds: Collection[str]) -> Wording | None:
    """Return the request as its last turn's text and the rest; *field* has the turns, or the only turn's text.

    None where that turn is not the user's, or is anything but one text: parts of these *kinds* are texts.
    """
    place = _place(request.document.get(field), kinds)
    if place is None:
        return None
    pointer = f"/{field}{place}"
    text = document.at(request.document, pointer)
    if not isinstance(text, str) or not text.strip():
        return None
    return Wording(
        text, msgspec.structs.replace(request, document=document.put(request.document, pointer, None))
    )


def _place(turns: Any, kinds: Collection[str]) -> str | None:
    """Return where the last turn's text stands, as a pointer from the turns on."""
    if isinstance(turns, str):
        return ""
    last = turns[-1] if isinstance(turns, list) and turns else None
    if not isinstance(last, dict) or last.get("role") != "user" or last.get("type", "message") != "message":
        return None
    turn, content = f"/{len(turns) - 1}/content", last.get("content")
    if isinstance(content, str):
        return turn
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    return (
        f"{turn}/0/text" if isinstance(part, dict) and part.get("type") in kinds and "text" in part else None
    )
