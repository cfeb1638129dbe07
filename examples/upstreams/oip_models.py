"""Three small models in ONNX, built here rather than downloaded, in the folders that model servers look for.

``iris`` tells irises apart (`examples.upstreams.iris`); version 2 is twice as sure of itself. ``echo`` gives texts
back, ``halve`` half of what it is given, in 16-bit floats.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from examples.upstreams.iris import BIAS, WEIGHTS

IR_VERSION = 10
OPSET = 17


class Tensor(NamedTuple):
    """An input or output: -1 is the dimension of the batch."""

    name: str
    kind: int
    shape: Sequence[int]


def build(folder: Path) -> None:
    """Write every model as ``{folder}/{name}/{version}/model.onnx``."""
    for name, version, model in _models():
        path = folder / name / version / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())


def _models() -> Iterator[tuple[str, str, onnx.ModelProto]]:
    yield "iris", "1", _classifier(sureness=1)
    yield "iris", "2", _classifier(sureness=2)
    text = Tensor("text", onnx.TensorProto.STRING, [-1])
    yield (
        "echo",
        "1",
        _model([text], [text._replace(name="echo")], [helper.make_node("Identity", ["text"], ["echo"])]),
    )
    half = Tensor("whole", onnx.TensorProto.FLOAT16, [-1, 2])
    by_two = numpy_helper.from_array(np.array(0.5, dtype=np.float16), "by_two")
    halving = helper.make_node("Mul", ["whole", "by_two"], ["half"])
    yield "halve", "1", _model([half], [half._replace(name="half")], [halving], [by_two])


def _classifier(*, sureness: int) -> onnx.ModelProto:
    weights = numpy_helper.from_array(WEIGHTS * sureness, "weights")
    bias = numpy_helper.from_array(BIAS * sureness, "bias")
    nodes = [
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    features = Tensor("features", onnx.TensorProto.FLOAT, [-1, 4])
    label = Tensor("label", onnx.TensorProto.INT64, [-1])
    probabilities = Tensor("probabilities", onnx.TensorProto.FLOAT, [-1, 3])
    return _model([features], [label, probabilities], nodes, [weights, bias])


def _model(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "model", _described(inputs), _described(outputs), constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="examples"
    )
    onnx.checker.check_model(model)
    return model


def _described(tensors: Sequence[Tensor]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            tensor.name, tensor.kind, ["batch" if size < 0 else size for size in tensor.shape]
        )
        for tensor in tensors
    ]
