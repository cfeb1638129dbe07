"""Tensors: what a request or an answer says of them, and whether the data agrees with it.

Data comes as JSON, flat or nested, or as bytes after the JSON: little-endian, row by row. An element of BYTES is
four bytes of length, then so many bytes. There is no JSON of 16-bit floats.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

SIZES: Mapping[str, int] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Bytes of an element."""
BYTES = "BYTES"
_LENGTH_BYTES = 4
MAX_DIMENSIONS = 64
MAX_WALKED_ELEMENTS = 65_536
"""Elements of BYTES whose lengths are followed one by one, some milliseconds; beyond, the server may do it."""
_ONLY_BINARY = ("FP16", "BF16")
_NUMBERS = frozenset({int, float, bool})
_TEXTS = frozenset({str})


class MalformedTensor(ValueError):
    """What is said of a tensor does not agree with itself. `field` is the part of it at fault."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


def check_form(tensor: Mapping[str, Any]) -> int:
    """Return how many elements the tensor has.

    Raises:
        MalformedTensor: its name, shape or datatype is missing or none.
    """
    name, shape, datatype = tensor.get("name"), tensor.get("shape"), tensor.get("datatype")
    if not isinstance(name, str) or not name:
        raise MalformedTensor("a tensor needs a name", "name")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_dimension, shape)):
        raise MalformedTensor(
            f"the shape of {name} must be a list of at most {MAX_DIMENSIONS} numbers, none negative", "shape"
        )
    if datatype != BYTES and (not isinstance(datatype, str) or datatype not in SIZES):
        raise MalformedTensor(f"the datatype of {name} is none of {BYTES}, {', '.join(SIZES)}", "datatype")
    return math.prod(shape)


def check_data(tensor: Mapping[str, Any], elements: int) -> None:
    """Do nothing if the tensor's JSON data has so many elements of its datatype.

    Raises:
        MalformedTensor: it has not.
    """
    name, datatype, data = tensor["name"], tensor["datatype"], tensor.get("data")
    if datatype in _ONLY_BINARY:
        raise MalformedTensor(f"{name} is {datatype}, which can only be sent as binary data", "data")
    if not isinstance(data, list):
        raise MalformedTensor(f"{name} needs data: a list, or binary data after the JSON", "data")
    kinds = set(map(type, data))
    while kinds == {list}:
        data = list(chain.from_iterable(data))
        kinds = set(map(type, data))
    if not kinds <= (_TEXTS if datatype == BYTES else _NUMBERS):
        raise MalformedTensor(f"the data of {name} is not all of {datatype}", "data")
    if len(data) != elements:
        raise MalformedTensor(f"{name} has {len(data)} elements where its shape says {elements}", "data")


def check_bytes(tensor: Mapping[str, Any], elements: int, content: memoryview) -> None:
    """Do nothing if the bytes are so many elements of the tensor's datatype.

    Raises:
        MalformedTensor: they are not.
    """
    name, datatype = tensor["name"], tensor["datatype"]
    if datatype != BYTES:
        size = elements * SIZES[datatype]
        if len(content) != size:
            raise MalformedTensor(
                f"{name} has {len(content)} bytes where its shape and datatype say {size}", "data"
            )
    elif not _holds(content, elements):
        raise MalformedTensor(
            f"the bytes of {name} are not {elements} elements, each after its length", "data"
        )


def binary_size(tensor: Mapping[str, Any]) -> int | None:
    """Return how many bytes of a tensor come after the JSON, or None where its data is in the JSON.

    Raises:
        MalformedTensor: its parameters are no object, or the size is no size.
    """
    parameters = tensor.get("parameters")
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise MalformedTensor("the parameters of a tensor must be an object", "parameters")
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise MalformedTensor("binary_data_size must be a number of bytes", "parameters")
    return size


def cut(content: memoryview, sizes: Sequence[int]) -> tuple[memoryview, ...]:
    """Return the pieces of these sizes that the content is made of.

    Raises:
        MalformedTensor: they do not add up to its length.
    """
    if sum(sizes) != len(content):
        raise MalformedTensor(
            f"{len(content)} bytes come after the JSON where the tensors say {sum(sizes)}", "parameters"
        )
    pieces, start = [], 0
    for size in sizes:
        pieces.append(content[start : start + size])
        start += size
    return tuple(pieces)


def _is_dimension(size: Any) -> bool:
    return type(size) is int and size >= 0


def _holds(content: memoryview, elements: int) -> bool:
    """Return whether so many elements of BYTES, and nothing else, are in the content."""
    if elements * _LENGTH_BYTES > len(content):
        return False
    if elements > MAX_WALKED_ELEMENTS:
        return True
    place = 0
    for _ in range(elements):
        place += _LENGTH_BYTES + int.from_bytes(content[place : place + _LENGTH_BYTES], "little")
        if place > len(content):
            return False
    return place == len(content)
