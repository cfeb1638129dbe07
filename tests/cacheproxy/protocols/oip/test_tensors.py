import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

from cacheproxy.protocols.oip import tensors
from cacheproxy.protocols.oip.tensors import (
    BYTES,
    SIZES,
    MalformedTensor,
    check_bytes,
    check_data,
    check_form,
)

QUICK = settings(deadline=None, max_examples=60)
shapes = st.lists(st.integers(0, 4), max_size=4)


def tensor(shape: list[int], datatype: str = "FP32", **fields: Any) -> dict[str, Any]:
    return {"name": "x", "shape": shape, "datatype": datatype, **fields}


@QUICK
@given(shapes, st.sampled_from(sorted(SIZES)))
def test_numpys_bytes_and_lists_agree_with_their_shape(shape: list[int], datatype: str) -> None:
    array = np.zeros(shape, dtype=triton_to_np_dtype(datatype))
    elements = check_form(tensor(shape, datatype))
    assert elements == array.size
    check_bytes(tensor(shape, datatype), elements, memoryview(array.tobytes()))
    if datatype not in ("FP16", "BF16"):
        flat = array.ravel().tolist()
        check_data(tensor(shape, datatype, data=flat), elements)
        check_data(tensor(shape, datatype, data=array.tolist() if shape else flat), elements)


@QUICK
@given(st.lists(st.binary(max_size=6), max_size=5), st.integers(-6, 6))
def test_tritons_bytes_agree_with_their_shape_and_no_other(texts: list[bytes], more: int) -> None:
    array = np.array([*texts, b""], dtype=np.object_)[:-1]
    packed = memoryview(b"" if not texts else serialize_byte_tensor(array).item())
    check_bytes(tensor([len(texts)], BYTES), len(texts), packed)
    if more:
        with pytest.raises(MalformedTensor):
            check_bytes(
                tensor([len(texts)], BYTES), max(0, len(texts) + more), memoryview(bytes(packed) + b"xxxxx")
            )


@pytest.mark.parametrize("content", [b"", b"\x01\0\0", b"\x02\0\0\0x", b"\xff\xff\xff\xffx", b"\0\0\0\0\0"])
def test_lengths_that_lead_out_of_the_tensor(content: bytes) -> None:
    with pytest.raises(MalformedTensor):
        check_bytes(tensor([1], BYTES), 1, memoryview(content))


def test_of_very_many_texts_only_the_room_is_checked() -> None:
    many = tensors.MAX_WALKED_ELEMENTS + 1
    wrong = struct.pack("<I", 9) * many
    check_bytes(tensor([many], BYTES), many, memoryview(wrong))
    with pytest.raises(MalformedTensor):
        check_bytes(tensor([many], BYTES), many, memoryview(wrong)[1:])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x"}, "shape"),
        ({"name": "x", "shape": 3, "datatype": "FP32"}, "shape"),
        ({"name": "x", "shape": [-1], "datatype": "FP32"}, "shape"),
        ({"name": "x", "shape": [True], "datatype": "FP32"}, "shape"),
        ({"name": "x", "shape": [1.0], "datatype": "FP32"}, "shape"),
        ({"name": "x", "shape": [1] * 65, "datatype": "FP32"}, "shape"),
        ({"name": "x", "shape": []}, "datatype"),
        ({"name": "x", "shape": [], "datatype": "fp32"}, "datatype"),
        ({"name": "x", "shape": [], "datatype": ["FP32"]}, "datatype"),
    ],
)
def test_a_form_that_is_none(given: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedTensor) as refused:
        check_form(given)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", None),
        ("FP32", 5),
        ("FP32", [1, 2, 3]),
        ("FP32", [[1, 2], [3]]),
        ("FP32", [[1, 2], 3, 4]),
        ("FP32", [1, 2, 3, "4"]),
        ("FP32", [1, 2, 3, None]),
        ("FP32", [[[], []], [[], []]]),
        ("BYTES", [1, 2, 3, 4]),
        ("BYTES", ["a", "b", "c"]),
        ("FP16", [1, 2, 3, 4]),
        ("BF16", [1, 2, 3, 4]),
    ],
)
def test_data_that_is_not_the_shapes(datatype: str, data: Any) -> None:
    with pytest.raises(MalformedTensor):
        check_data(tensor([2, 2], datatype, data=data), 4)


def test_texts_may_be_nested_too() -> None:
    check_data(tensor([2, 2], BYTES, data=[["a", "b"], ["c", "d"]]), 4)


def test_shapes_beyond_all_memory_are_only_numbers() -> None:
    elements = check_form(tensor([2**62] * 64))
    with pytest.raises(MalformedTensor):
        check_bytes(tensor([2**62] * 64), elements, memoryview(b"1234"))
