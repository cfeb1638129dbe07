"""The encoder as an ONNX graph: a BERT of six layers, mean pooling and length 1, made from its weights alone.

Where `com.microsoft` names an operator, it is ONNX Runtime's own: attention in one node, and products with weights
of 8 bits in blocks of 32. What a token is multiplied by is quantised in such blocks too, so that neither the other
tokens of a sentence nor the other sentences of a batch sway its vector, as they do where a whole tensor has one scale.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

Weights = Mapping[str, NDArray[np.float32]]

LAYERS, HEADS, DIMENSIONS, MAX_TOKENS = 6, 12, 384, 256
EPSILON = 1e-12
BLOCK = 32
"""How many weights share a scale."""
EIGHT_BITS, ZERO_POINT, LARGEST = 8, 128, 127
INT8_ACTIVATIONS = 4
OWN = "com.microsoft"


def build(weights: Weights, *, quantised: bool) -> ModelProto:
    """Return the graph: ``ids`` and ``mask`` (both int64, texts × tokens) in, ``vectors`` (float32) out.

    *quantised* makes it a third of the size and half as fast again; `docs/adr/0016` has what it does to the vectors.
    """
    graph = _Graph(weights, quantised)
    hidden = _embed(graph)
    graph.add("Cast", ["mask"], "attended", to=TensorProto.INT32)
    for number in range(LAYERS):
        hidden = _layer(graph, f"encoder.layer.{number}.", hidden)
    _pool(graph, hidden)
    return graph.model()


class _Graph:
    """Nodes and constants as they come together."""

    def __init__(self, weights: Weights, quantised: bool) -> None:
        self.weights = weights
        self._quantised = quantised
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output, and return that output's name."""
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def dense(self, source: str, prefix: str) -> str:
        """Add ``source × weightᵀ + bias``."""
        product, weight = f"{prefix}.product", self.weights[f"{prefix}.weight"]
        if self._quantised:
            self._quantised_product(source, prefix, weight, product)
        else:
            self.add("MatMul", [source, self.constant(f"{prefix}.weight", weight.T)], product)
        bias = self.constant(f"{prefix}.bias", self.weights[f"{prefix}.bias"])
        return self.add("Add", [product, bias], prefix)

    def _quantised_product(self, source: str, prefix: str, weight: NDArray[np.float32], product: str) -> None:
        rows, columns = weight.shape
        blocks = weight.reshape(rows, columns // BLOCK, BLOCK)
        scales = np.maximum(np.abs(blocks).max(axis=2), np.finfo(np.float32).tiny) / LARGEST
        steps = np.rint(blocks / scales[:, :, None]) + ZERO_POINT
        self.add(
            "MatMulNBits",
            [
                source,
                self.constant(f"{prefix}.steps", steps.astype(np.uint8)),
                self.constant(f"{prefix}.scales", scales.astype(np.float32).ravel()),
            ],
            product,
            domain=OWN,
            K=columns,
            N=rows,
            bits=EIGHT_BITS,
            block_size=BLOCK,
            accuracy_level=INT8_ACTIVATIONS,
        )

    def normalise(self, source: str, prefix: str) -> str:
        gain = self.constant(f"{prefix}.weight", self.weights[f"{prefix}.weight"])
        shift = self.constant(f"{prefix}.bias", self.weights[f"{prefix}.bias"])
        return self.add("LayerNormalization", [source, gain, shift], prefix, epsilon=EPSILON)

    def words(self) -> NDArray[Any]:
        """Return the vectors of the vocabulary; as float16 they take half the room and lose nothing that counts."""
        words = self.weights["embeddings.word_embeddings.weight"]
        return words.astype(np.float16) if self._quantised else words

    def model(self) -> ModelProto:
        integers = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
            for name in ("ids", "mask")
        ]
        vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["texts", DIMENSIONS])
        graph = helper.make_graph(self._nodes, "minilm", integers, [vectors], list(self._constants.values()))
        operators = [helper.make_opsetid("", 20), helper.make_opsetid(OWN, 1)]
        return helper.make_model(graph, opset_imports=operators, ir_version=10)


def _embed(graph: _Graph) -> str:
    """Add words and their places. A text has one part only, so its part's vector is the same at every place."""
    weights = graph.weights
    places = (
        weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    start, axis = graph.constant("start", np.array([0])), graph.constant("axis 0", np.array([0]))
    graph.add("Shape", ["ids"], "tokens", start=1, end=2)
    graph.add("Slice", [graph.constant("all places", places), start, "tokens", axis], "places")
    graph.add("Gather", [graph.constant("words", graph.words()), "ids"], "kept words")
    graph.add("Cast", ["kept words"], "read words", to=TensorProto.FLOAT)
    graph.add("Add", ["read words", "places"], "embedded")
    return graph.normalise("embedded", "embeddings.LayerNorm")


def _layer(graph: _Graph, prefix: str, hidden: str) -> str:
    query, key, value = (
        graph.dense(hidden, f"{prefix}attention.self.{part}") for part in ("query", "key", "value")
    )
    context = graph.add(
        "MultiHeadAttention",
        [query, key, value, "", "attended"],
        f"{prefix}context",
        domain=OWN,
        num_heads=HEADS,
    )
    seen = graph.dense(context, f"{prefix}attention.output.dense")
    graph.add("Add", [seen, hidden], f"{prefix}seen")
    seen = graph.normalise(f"{prefix}seen", f"{prefix}attention.output.LayerNorm")
    wide = graph.add("Gelu", [graph.dense(seen, f"{prefix}intermediate.dense")], f"{prefix}wide")
    graph.add("Add", [graph.dense(wide, f"{prefix}output.dense"), seen], f"{prefix}thought")
    return graph.normalise(f"{prefix}thought", f"{prefix}output.LayerNorm")


def _pool(graph: _Graph, hidden: str) -> None:
    """Add the mean of a text's tokens. Brought to length 1, the mean and the sum are the same."""
    graph.add("Cast", ["mask"], "weights", to=TensorProto.FLOAT)
    graph.add("Unsqueeze", ["weights", graph.constant("axis 2", np.array([2]))], "column")
    graph.add("Mul", [hidden, "column"], "counted")
    graph.add("ReduceSum", ["counted", graph.constant("axis 1", np.array([1]))], "sum", keepdims=0)
    graph.add("LpNormalization", ["sum"], "vectors", axis=-1, p=2)
