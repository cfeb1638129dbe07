import math
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.oip.infer import DIALECT as OIP
from cacheproxy.protocols.openai.chat import DIALECT as CHAT
from cacheproxy.protocols.openai.embeddings import DIALECT as EMBEDDINGS
from cacheproxy.protocols.predict import DIALECT as PREDICT
from cacheproxy.protocols.request import Dialect, Incoming, InferenceRequest
from cacheproxy.protocols.rounding import rounded, rounded_bytes

LENGTH = b"inference-header-content-length"


def test_floats_are_rounded_and_all_else_stays() -> None:
    given: dict[str, Any] = {"x": [0.1234, -0.0001, 5, "0.1234", None, True], "y": {"z": 2.5}}
    assert rounded(given, 2) == {"x": [0.12, 0.0, 5, "0.1234", None, True], "y": {"z": 2.5}}
    assert math.copysign(1, rounded(-0.0001, 2)) == 1
    assert given["x"][0] == 0.1234


@settings(deadline=None)
@given(st.lists(st.floats(width=32)), st.integers(0, 15))
def test_bytes_are_rounded_like_numbers(numbers: list[float], digits: int) -> None:
    content = memoryview(struct.pack(f"<{len(numbers)}f", *numbers))
    again = struct.unpack(f"<{len(numbers)}d", rounded_bytes(content, "FP32", digits))
    assert repr(again) == repr(tuple(rounded(numbers, digits)))


@pytest.mark.parametrize(("datatype", "code"), [("FP16", "e"), ("FP32", "f"), ("FP64", "d")])
def test_every_float_of_tensors_is_rounded(datatype: str, code: str) -> None:
    one, other = (memoryview(struct.pack(f"<2{code}", 0.5, value)) for value in (0.25, 0.2505))
    assert one != other
    assert rounded_bytes(one, datatype, 2) == rounded_bytes(other, datatype, 2)
    assert rounded_bytes(one, "INT32", 2) is one


def key(dialect: Dialect, request: InferenceRequest, digits: int | None) -> bytes:
    return dialect.canonical(request if digits is None else dialect.rounded(request, digits), ())


def infer(value: float, *, binary: bool) -> InferenceRequest:
    tensor: dict[str, Any] = {"name": "x", "shape": [2], "datatype": "FP32"}
    if not binary:
        body = msgspec.json.encode({"inputs": [{**tensor, "data": [1.0, value]}]})
        return OIP.parse(Incoming(body, {}, "iris"))
    head = msgspec.json.encode({"inputs": [{**tensor, "parameters": {"binary_data_size": 8}}]})
    body = head + struct.pack("<2f", 1.0, value)
    return OIP.parse(Incoming(body, {LENGTH: b"%d" % len(head)}, "iris"))


def requests(dialect: str, value: float) -> tuple[Dialect, InferenceRequest]:
    if dialect.startswith("oip"):
        return OIP, infer(value, binary=dialect == "oip binary")
    if dialect == "predict":
        return PREDICT, PREDICT.parse(Incoming(msgspec.json.encode({"features": [value]}), {}, "m"))
    body = msgspec.json.encode({"model": "m", "input": [[value, 1.0]]})
    return EMBEDDINGS, EMBEDDINGS.parse(Incoming(body))


@pytest.mark.parametrize("name", ["oip", "oip binary", "predict", "embeddings"])
def test_inputs_that_nearly_agree_are_the_same_where_they_are_rounded(name: str) -> None:
    dialect, one = requests(name, 0.25)
    _, near = requests(name, 0.2501)
    _, far = requests(name, 0.26)
    assert key(dialect, one, None) != key(dialect, near, None)
    assert key(dialect, one, 2) == key(dialect, near, 2)
    assert key(dialect, one, 2) != key(dialect, far, 2)
    assert dialect.upstream_call(near, "small").body != dialect.upstream_call(one, "small").body


def test_parameters_of_a_chat_are_not_rounded() -> None:
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user"}], "temperature": 0.01})
    request = CHAT.parse(Incoming(body))
    assert CHAT.rounded(request, 1) is request


def test_what_has_no_numbers_stays() -> None:
    raw = OIP.parse(Incoming(b"abc", {LENGTH: b"0"}, "iris"))
    assert OIP.rounded(raw, 1) is raw
    picture = PREDICT.parse(Incoming(b"abc", {b"content-type": b"image/png"}, "ocr"))
    assert PREDICT.rounded(picture, 1) is picture
