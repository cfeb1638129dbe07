import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from cacheproxy.protocols.oip.infer import DIALECT, MAX_TENSORS
from cacheproxy.protocols.request import (
    JSON,
    Answer,
    Incoming,
    InferenceRequest,
    InvalidRequest,
    UpstreamCall,
)
from metering.provider_usage import UsageMismatch, UsageReport

QUICK = settings(deadline=None, max_examples=60)
LENGTH = b"inference-header-content-length"
BINARY = (b"content-type", b"application/octet-stream")
INPUT = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2.5, 3, 4]}
OUTPUT = {"name": "y", "shape": [2], "datatype": "INT64", "data": [7, 8]}


def parse(body: bytes, length: int | bytes | None = None, version: str = "") -> InferenceRequest:
    headers = {} if length is None else {LENGTH: b"%d" % length if isinstance(length, int) else length}
    return DIALECT.parse(Incoming(body, headers, "iris", version))


def ask(binary: bytes | None = None, version: str = "", **fields: Any) -> InferenceRequest:
    text = msgspec.json.encode({"inputs": [INPUT], **fields})
    return parse(text + (binary or b""), None if binary is None else len(text), version)


def by_client(*inputs: InferInput, **more: Any) -> InferenceRequest:
    """Return what Triton's own client sends."""
    body, length = InferenceServerClient.generate_request_body(list(inputs), **more)
    return parse(body, length)


def floats(values: Any, *, binary: bool = True, name: str = "x") -> InferInput:
    array = np.asarray(values, dtype=np.float32)
    tensor = InferInput(name, list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def texts(*values: bytes) -> InferInput:
    tensor = InferInput("t", [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array(values, dtype=np.object_))
    return tensor


def canonical(request: InferenceRequest, *volatile: str) -> bytes:
    return DIALECT.canonical(request, volatile)


def answer(fields: Any, binary: bytes = b"", *, mixed: bool = False) -> Answer:
    text = json.dumps(fields).encode()  # with blanks, as no encoder of ours writes them
    headers = (BINARY, (LENGTH, b"%d" % len(text))) if mixed else (JSON,)
    return Answer(headers, text + binary)


class TestParse:
    def test_model_version_and_id_are_not_in_the_document(self) -> None:
        request = ask(id="abc", version="2", parameters={"x": 1})
        assert (request.model, request.version, request.stamp, request.stream) == ("iris", "2", "abc", False)
        assert request.document.fields == {"inputs": [INPUT], "parameters": {"x": 1}}
        assert not request.takes_answers_as_kept
        assert ask().takes_answers_as_kept
        assert ask(id="").stamp is None

    @QUICK
    @given(
        st.lists(
            st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
            max_size=4,
        )
    )
    def test_tensors_of_tritons_client(self, rows: list[list[float]]) -> None:
        array = np.array(rows, dtype=np.float32).reshape(-1, 3)
        assert by_client(floats(array)).document.binary == (array.tobytes(),)
        assert not by_client(floats(array, binary=False)).document.binary

    def test_binary_and_json_and_texts_side_by_side(self) -> None:
        request = by_client(
            texts(b"a", b"", "é".encode()), floats([1, 2], binary=False), floats([3], name="z")
        )
        first, last = request.document.binary
        assert (bytes(first[:5]), bytes(last)) == (b"\1\0\0\0a", np.array([3], dtype=np.float32).tobytes())

    def test_one_raw_tensor(self) -> None:
        request = parse(b"\0\1\2\3", 0)
        assert request.document.fields is None
        assert request.document.binary == (b"\0\1\2\3",)
        assert request.stamp is None

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"id": 5}, "id"),
            ({"inputs": []}, "inputs"),
            ({"inputs": None}, "inputs"),
            ({"inputs": {"x": 1}}, "inputs"),
            ({"inputs": ["x"]}, "inputs"),
            ({"inputs": [INPUT, INPUT]}, "inputs"),
            ({"inputs": [{**INPUT, "name": str(n)} for n in range(MAX_TENSORS + 1)]}, "inputs"),
            ({"inputs": [INPUT, {**INPUT, "name": "z", "shape": [5]}]}, "inputs.1.data"),
            ({"inputs": [{**INPUT, "datatype": "FP31"}]}, "inputs.0.datatype"),
            ({"inputs": [{**INPUT, "datatype": "FP16"}]}, "inputs.0.data"),
            ({"inputs": [{**INPUT, "parameters": 5}]}, "inputs.parameters"),
            ({"inputs": [{**INPUT, "parameters": {"binary_data_size": -1}}]}, "inputs.parameters"),
            ({"inputs": [{**INPUT, "parameters": {"binary_data_size": 16}}]}, "inputs.parameters"),
            (
                {"inputs": [{**INPUT, "parameters": {"shared_memory_region": "r"}}]},
                "inputs.0.parameters",
            ),
            (
                {"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]},
                "outputs.0.parameters",
            ),
            ({"outputs": "y"}, "outputs"),
            ({"outputs": [{}]}, "outputs.0.name"),
            ({"outputs": [{"name": "y", "parameters": [1]}]}, "parameters"),
            ({"parameters": [1]}, "parameters"),
        ],
    )
    def test_what_makes_no_sense(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            ask(**fields)
        assert refused.value.code in ("invalid_field", "missing_field")
        assert refused.value.param == param

    def test_data_twice(self) -> None:
        with pytest.raises(InvalidRequest, match="x has data twice"):
            ask(bytes(16), inputs=[{**INPUT, "parameters": {"binary_data_size": 16}}])

    @pytest.mark.parametrize("size", [0, 12, 15, 17, 20])
    @pytest.mark.parametrize("sent", [0, 12, 16, 20])
    def test_bytes_of_another_length(self, size: int, sent: int) -> None:
        tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": size}}
        with pytest.raises(InvalidRequest):
            ask(bytes(sent), inputs=[tensor])

    @pytest.mark.parametrize(
        "length", [b"", b"-1", b"+5", b"5 ", b"0x5", b"1e2", b"\xb2", b"9" * 5000, b"999"]
    )
    def test_a_malformed_length(self, length: bytes) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse(b'{"inputs":[]}', length)
        assert refused.value.param == "inference-header-content-length"

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"inputs": [{"data": [NaN]}]}', b'{"id": "\xff"}'],
    )
    def test_what_is_no_json_object(self, body: bytes) -> None:
        for length in (None, len(body) or None):
            with pytest.raises(InvalidRequest) as refused:
                parse(body, length)
            assert refused.value.code == "invalid_json"

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_json_has_no_word_for_goes_as_bytes(self, value: float) -> None:
        assert by_client(floats([value])).document.binary
        with pytest.raises(InvalidRequest):
            by_client(floats([value], binary=False))

    def test_deep_nesting(self) -> None:
        nested = b"[" * 900 + b"1" + b"]" * 900
        body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":%b}]}' % nested
        assert parse(body).document.fields["inputs"][0]["name"] == "x"

    @QUICK
    @given(st.binary(max_size=60), st.none() | st.integers(0, 70))
    def test_whatever_comes_is_refused_or_raw(self, body: bytes, length: int | None) -> None:
        try:
            request = parse(body, length)
        except InvalidRequest:
            return
        assert length == 0
        assert request.document.binary == (body,)

    def test_the_path_names_the_model(self) -> None:
        with pytest.raises(InvalidRequest) as refused:
            DIALECT.parse(Incoming(b"{}"))
        assert refused.value.param == "model"


class TestCanonical:
    def test_the_id_does_not_decide(self) -> None:
        assert canonical(ask(id="a")) == canonical(ask(id="b")) == canonical(ask())

    @QUICK
    @given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
    def test_the_same_bytes_have_the_same_key_and_others_another(self, one: bytes, other: bytes) -> None:
        tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
        first, second = (canonical(ask(sent, inputs=[tensor])) for sent in (one, other))
        assert (first == second) == (one == other)

    @pytest.mark.parametrize(
        "other",
        [
            ask(version="2"),
            ask(inputs=[{**INPUT, "name": "z"}]),
            ask(inputs=[{**INPUT, "shape": [4]}]),
            ask(inputs=[{**INPUT, "datatype": "FP64"}]),
            ask(inputs=[{**INPUT, "data": [1, 2.5, 3, 5]}]),
            ask(inputs=[{**INPUT, "parameters": {"x": 1}}]),
            ask(outputs=[{"name": "y"}]),
            ask(outputs=[{"name": "y", "parameters": {"binary_data": True}}]),
            ask(parameters={"binary_data_output": True}),
            ask(parameters={"temperature": 0.5}),
            ask(x_unknown=1),
            parse(b"1234", 0),
        ],
    )
    def test_all_else_does(self, other: InferenceRequest) -> None:
        assert canonical(other) != canonical(ask())

    def test_json_and_bytes_are_two_keys(self) -> None:
        assert canonical(by_client(floats([1, 2]))) != canonical(by_client(floats([1, 2], binary=False)))

    def test_space_and_order_of_fields_mean_nothing(self) -> None:
        fields = {"parameters": {"b": 1, "a": 2}, "inputs": [dict(reversed(INPUT.items()))]}
        assert canonical(parse(json.dumps(fields, indent=2).encode())) == canonical(
            ask(parameters={"a": 2, "b": 1})
        )

    def test_a_raw_tensor_is_keyed_by_its_bytes(self) -> None:
        assert canonical(parse(b"1234", 0)) == canonical(parse(b"1234", 0), "/parameters/trace")
        assert canonical(parse(b"1234", 0)) != canonical(parse(b"1235", 0))

    def test_volatile_fields_do_not_decide(self) -> None:
        traced = ask(parameters={"trace": 1, "x": 2})
        assert canonical(traced, "/parameters/trace") == canonical(
            ask(parameters={"x": 2}), "/parameters/trace"
        )

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ({"priority": 1}, True),
            ({"sequence_id": 0}, True),
            ({"sequence_id": 5, "sequence_start": True}, False),
            ({"sequence_id": "s"}, False),
        ],
    )
    def test_a_part_of_a_sequence_is_not_kept(self, parameters: dict[str, Any], expected: bool) -> None:
        assert DIALECT.cacheable(ask(parameters=parameters)) is expected
        assert DIALECT.cacheable(parse(b"1234", 0))


class TestUpstreamCall:
    def test_json_goes_without_the_id(self) -> None:
        call = DIALECT.upstream_call(ask(id="abc", x_unknown=2**70), "iris v2")
        assert (call.path, call.headers) == ("/v2/models/iris%20v2/infer", (JSON,))
        assert msgspec.json.decode(call.body) == {"inputs": [INPUT], "x_unknown": 2**70}

    def test_bytes_go_after_json_of_a_new_length(self) -> None:
        request = by_client(texts(b"ab"), floats([1, 2]), request_id="abc")
        call = DIALECT.upstream_call(request, "iris")
        again = DIALECT.parse(Incoming(call.body, dict(call.headers), "iris"))
        assert again.document == request.document
        assert again.stamp is None
        assert canonical(again) == canonical(request)

    def test_a_version(self) -> None:
        assert DIALECT.upstream_call(ask(version="2"), "iris").path == "/v2/models/iris/versions/2/infer"

    def test_a_raw_tensor_goes_as_it_came(self) -> None:
        assert DIALECT.upstream_call(parse(b"1234", 0), "iris") == UpstreamCall(
            "/v2/models/iris/infer",
            b"1234",
            (BINARY, (LENGTH, b"0")),
        )


class TestAnswer:
    def test_it_is_read_with_and_without_bytes(self) -> None:
        fields = {"model_name": "iris", "outputs": [OUTPUT]}
        binary = {"name": "z", "datatype": "UINT8", "shape": [3], "parameters": {"binary_data_size": 3}}
        mixed = {**fields, "outputs": [binary, OUTPUT]}
        assert DIALECT.read(ask(), answer(fields)) == fields
        assert DIALECT.read(ask(), answer(fields, mixed=True)) == fields
        assert DIALECT.read(ask(), answer(mixed, b"abc", mixed=True)) == mixed

    @pytest.mark.parametrize("given", [b"", b"ab", b"abcd"])
    def test_bytes_of_another_length_are_none(self, given: bytes) -> None:
        binary = {"name": "z", "datatype": "UINT8", "shape": [3], "parameters": {"binary_data_size": 3}}
        with pytest.raises(ValueError, match="bytes come after the JSON"):
            DIALECT.read(ask(), answer({"outputs": [binary]}, given, mixed=True))

    @pytest.mark.parametrize("headers", [(JSON,), (BINARY, (LENGTH, b"99")), (BINARY, (LENGTH, b"x"))])
    def test_what_is_no_answer_at_all(self, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        with pytest.raises(ValueError, match=r".+"):
            DIALECT.read(ask(), Answer(headers, b"<h1>It works!</h1>"))

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"outputs": [OUTPUT]}, True),
            ({"outputs": [{"name": "a"}, OUTPUT]}, True),
            ({"outputs": [{"name": "a"}]}, False),
            ({"outputs": [OUTPUT], "error": "no"}, False),
            ({"outputs": [OUTPUT, "y"]}, False),
            ({"outputs": []}, False),
            ({"outputs": "y"}, False),
            ({"error": "no"}, False),
            ([], False),
            (None, False),
        ],
    )
    def test_it_has_every_output_asked_for(self, fields: Any, expected: bool) -> None:
        assert DIALECT.is_answer(ask(outputs=[{"name": "y"}]), fields) is expected


class TestStamp:
    def test_a_json_answer_gets_the_callers_id(self) -> None:
        kept = answer({"model_name": "iris", "outputs": [OUTPUT], "x": 1.10})
        given = DIALECT.give(ask(id='a"é'), kept)
        assert msgspec.json.decode(given.body) == {**msgspec.json.decode(kept.body), "id": 'a"é'}
        assert b"1.1}" in given.body or b'"x":1.1,' in given.body
        assert given.headers == (JSON,)

    def test_an_id_of_anothers_is_replaced(self) -> None:
        kept = answer({"id": "theirs", "outputs": [OUTPUT]})
        assert msgspec.json.decode(DIALECT.give(ask(id="mine"), kept).body)["id"] == "mine"

    @QUICK
    @given(st.text(min_size=1), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5))
    def test_a_binary_answer_keeps_its_bytes_behind_json_of_a_new_length(
        self, name: str, values: list[int]
    ) -> None:
        content = np.array(values, dtype=np.int32).tobytes()
        output = {
            "name": "y",
            "datatype": "INT32",
            "shape": [len(values)],
            "parameters": {"binary_data_size": len(content)},
        }
        given = DIALECT.give(ask(id=name), answer({"outputs": [output]}, content, mixed=True))
        length = int(dict(given.headers)[LENGTH])
        result = InferResult.from_response_body(given.body, header_length=length)
        assert result.get_response()["id"] == name
        assert result.as_numpy("y").tolist() == values

    def test_without_an_id_it_is_given_as_it_is(self) -> None:
        kept = answer({"outputs": [OUTPUT]}, mixed=True)
        assert DIALECT.give(ask(), kept) is kept

    def test_what_has_no_room_for_an_id_is_given_as_it_is(self) -> None:
        assert DIALECT.give(ask(id="a"), answer([1])) == answer([1])


class TestUsage:
    def test_a_call_is_a_unit(self) -> None:
        assert DIALECT.usage(ask(), {"outputs": [OUTPUT]}, {}, 100) == UsageReport(units=1)
        assert DIALECT.usage(parse(b"1234", 0), {"outputs": [OUTPUT]}, {}, 4) == UsageReport(units=1)
        assert DIALECT.usage(ask(), {"error": "no"}, {}, 100) is None
        assert DIALECT.estimate(ask(), None) == UsageReport()

    @pytest.mark.parametrize(
        ("rule", "units"),
        [
            ({"per_call": 3}, 3),
            ({"per_kib": 2}, 4),
            ({"per_item": "/inputs/0/data"}, 4),
            ({"pointer": "/outputs/0/shape/0"}, 2),
        ],
    )
    def test_a_metering_rule_takes_its_place(self, rule: dict[str, Any], units: int) -> None:
        assert DIALECT.usage(ask(), {"outputs": [OUTPUT]}, {"units": rule}, 1025) == UsageReport(units=units)

    def test_items_of_bytes_cannot_be_counted(self) -> None:
        with pytest.raises(UsageMismatch):
            DIALECT.usage(parse(b"1234", 0), {"outputs": [OUTPUT]}, {"units": {"per_item": "/inputs"}}, 4)


def test_errors_are_texts_for_tritons_client() -> None:
    body = DIALECT.error(status=400, code="invalid_field", message="No.", param="inputs")
    assert msgspec.json.decode(body) == {"error": "No.", "code": "invalid_field", "param": "inputs"}


def test_requested_outputs_of_tritons_client() -> None:
    outputs = [InferRequestedOutput("y", binary_data=True, class_count=2), InferRequestedOutput("z")]
    asked = by_client(floats([1, 2]), outputs=outputs).document.fields["outputs"]
    assert [output["name"] for output in asked] == ["y", "z"]
