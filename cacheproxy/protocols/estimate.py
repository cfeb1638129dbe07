"""An estimate of tokens, for answers that come without a report.

The method: bytes of UTF-8 text / 4, rounded up. Text is every string in the value, but for images, sound and
files (their size says little about their tokens) and for names that the format itself needs. It is stated on
the event, the CSV and the invoice line as `estimated`.
"""

from collections.abc import Iterator
from typing import Any

BYTES_PER_TOKEN = 4
_NO_TEXT = frozenset(
    {
        "role",
        "type",
        "id",
        "call_id",
        "status",
        "image_url",
        "video_url",
        "input_audio",
        "audio",
        "file",
        "file_data",
        "source",
        "encrypted_content",
        "annotations",
        "logprobs",
    }
)


def text_tokens(value: Any) -> int:
    """Return the estimated tokens of all text in a JSON value."""
    return rounded_up(_text_bytes(value))


def rounded_up(size: int) -> int:
    """Return the tokens that so many bytes of text are reckoned as."""
    return -(-size // BYTES_PER_TOKEN)


def spoken(value: Any) -> str:
    """Return all text in a JSON value, in its order."""
    return "\n".join(_texts(value))


def _text_bytes(value: Any) -> int:
    return sum(len(text.encode()) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]  # a list of our own, for JSON may nest deeper than calls may
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            waiting.extend(value[name] for name in reversed(value) if name not in _NO_TEXT)
