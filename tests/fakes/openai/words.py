"""What the surfaces share: texts in pieces, documents that fit a schema, tokens, ids, events."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

PIECE = 5
"""Characters in one delta."""


def pieces(text: str) -> list[str]:
    """Return a text as it is streamed."""
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def tokens(value: Any) -> int:
    """Return a quarter of the bytes, and one."""
    return len(json.dumps(value)) // 4 + 1


def digest(value: Any) -> str:
    """Return an id for what is asked: the same for the same, streamed or not."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def filled(schema: Mapping[str, Any], text: str) -> Any:
    """Return a document that fits a JSON schema, with the text in it wherever it takes one."""
    if "$ref" in schema or "anyOf" in schema or "allOf" in schema:
        raise ValueError("this model knows plain schemas only")
    match schema.get("type"):
        case "object":
            return {name: filled(inner, text) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return [filled(schema["items"], text)]
        case "integer":
            return len(text)
        case "boolean":
            return True
        case _:
            return text


def event(document: Any) -> bytes:
    """Return an event without a name."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def named_event(document: Mapping[str, Any]) -> bytes:
    """Return an event named for its type."""
    return f"event: {document['type']}\n".encode() + event(document)
