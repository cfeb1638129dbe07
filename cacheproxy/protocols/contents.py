"""Files by their content: a data URL in a JSON document, and the same bytes as a file of a form, key the same."""

import base64
import binascii
from hashlib import sha256
from typing import Any

from cacheproxy.protocols import document

_SCHEME = "data:"
_MARK = b'"data:'
_ENCODED = ";base64"


def keyed_file(content_type: str, digest: str) -> str:
    """Return what stands in a key for a file of this type and SHA-256 (hex): a data URL with the digest as its data."""
    return f"{_SCHEME}{content_type};sha256,{digest}"


def decoded(text: str) -> bytes | None:
    """Return the bytes that a text is in base64, or as a data URL in base64; None where it is neither, or empty."""
    head, comma, data = text.rpartition(",")
    if comma and not (head.startswith(_SCHEME) and head.endswith(_ENCODED)):
        return None
    try:
        return base64.b64decode(data, validate=True) or None
    except ValueError:
        return None


def keyed(value: Any) -> Any:
    """Return a JSON value as it is keyed: each data URL as the file that it holds.

    Any other text that begins like one is keyed by its own digest, so that none passes for a file.
    """
    kind = type(value)
    if kind is dict:
        return {name: keyed(item) for name, item in value.items()}
    if kind is list:
        return [keyed(item) for item in value]
    return _digested(value) if kind is str and value.startswith(_SCHEME) else value


def canonical(said: Any) -> bytes:
    """Return the canonical JSON of a document as it is keyed."""
    plain = document.canonical(said)
    return document.canonical(keyed(said)) if _MARK in plain else plain


def _digested(text: str) -> str:
    head, _, data = text.removeprefix(_SCHEME).partition(",")
    if head.endswith(_ENCODED):
        try:
            content = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):  # a ValueError where it is not even ASCII
            pass
        else:
            return keyed_file(head.removesuffix(_ENCODED), sha256(content).hexdigest())
    return f"{_SCHEME};text,{sha256(text.encode()).hexdigest()}"
