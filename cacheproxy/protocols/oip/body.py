"""A body of the protocol: JSON, and after it the bytes of those tensors that are not in the JSON.

A header tells where the JSON ends; without it all is JSON. A length of 0 is Triton's raw request: no JSON, the
whole body is the one input of a model that has one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from cacheproxy.protocols.request import JSON, Answer, Header

JSON_LENGTH = b"inference-header-content-length"
_BINARY: Header = (b"content-type", b"application/octet-stream")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Parts(NamedTuple):
    """A body, taken apart."""

    json: memoryview
    binary: memoryview
    mixed: bool
    """Whether a header told where the JSON ends."""


def take_apart(body: bytes, headers: Mapping[bytes, bytes]) -> Parts:
    """Return the body's parts, as views of it.

    Raises:
        ValueError: the header is no length, or longer than the body.
    """
    content, length = memoryview(body), headers.get(JSON_LENGTH)
    if length is None:
        return Parts(content, content[len(body) :], mixed=False)
    if not length.isdigit() or len(length) > len(str(len(body))) or int(length) > len(body):
        raise ValueError(f"{JSON_LENGTH.decode()} must be a number of bytes, at most the body's {len(body)}")
    return Parts(content[: int(length)], content[int(length) :], mixed=True)


def put_together(
    json: bytes, binary: tuple[memoryview, ...], *, mixed: bool
) -> tuple[tuple[Header, ...], bytes]:
    """Return the headers and the body for these parts."""
    if not mixed:
        return (JSON,), json
    return (_BINARY, (JSON_LENGTH, b"%d" % len(json))), b"".join((json, *binary))


def stamped(answer: Answer, stamp: Any) -> Answer:
    """Return the answer under this `id`, every other field as it was; what is no object has no room for one."""
    parts = take_apart(answer.body, dict(answer.headers))
    try:
        json = msgspec.json.encode({**_fields.decode(parts.json), "id": stamp})
    except ValueError:
        return answer
    headers = [header for header in answer.headers if header[0] != JSON_LENGTH]
    if parts.mixed:
        headers.append((JSON_LENGTH, b"%d" % len(json)))
    return Answer(tuple(headers), b"".join((json, parts.binary)))
