"""Tensors on the wire of the Open Inference Protocol, to numpy and back."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DTYPES: Mapping[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
ONNX_TYPES: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


def from_json(data: Any, datatype: str, shape: list[int]) -> Array:
    """Return the tensor that a JSON list holds, flat or nested.

    Raises:
        ValueError: it is not one of this datatype and shape, or the datatype has no JSON.
    """
    if datatype == "FP16":
        raise ValueError("FP16 comes as binary data only")
    return np.array(data, dtype=DTYPES[datatype]).reshape(shape)


def from_bytes(content: bytes, datatype: str, shape: list[int]) -> Array:
    """Return the tensor that the bytes are.

    Raises:
        ValueError: they are not one of this datatype and shape.
    """
    if datatype == "BYTES":
        return np.array([text.decode() for text in _texts(content)], dtype=np.object_).reshape(shape)
    return np.frombuffer(content, dtype=DTYPES[datatype]).reshape(shape)


def to_bytes(tensor: Array) -> bytes:
    """Return the tensor as bytes, row by row."""
    if tensor.dtype != np.object_:
        return np.ascontiguousarray(tensor).tobytes()
    texts = [str(text).encode() for text in tensor.ravel()]
    return b"".join([struct.pack("<I", len(text)) + text for text in texts])


def largest(tensor: Array, count: int) -> Array:
    """Return the `count` largest values of each row, largest first, as texts `value:index`."""
    rows = tensor.reshape(-1, tensor.shape[-1])
    found = [[f"{row[place]:f}:{place}" for place in np.argsort(row)[::-1][:count]] for row in rows]
    return np.array(found, dtype=np.object_).reshape(*tensor.shape[:-1], -1)


def _texts(content: bytes) -> list[bytes]:
    texts, place = [], 0
    while place < len(content):
        if place + 4 > len(content):
            raise ValueError("the bytes end in the middle of a length")
        (length,) = struct.unpack_from("<I", content, place)
        place += 4 + length
        if place > len(content):
            raise ValueError("the bytes end in the middle of an element")
        texts.append(content[place - length : place])
    return texts
