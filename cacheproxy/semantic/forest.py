"""Boosted trees as arrays, evaluated by numpy: all trees take their next step at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[np.generic]]


class _Node(NamedTuple):
    feature: int
    threshold: float
    left: int
    right: int
    value: float


class Forest:
    """Nodes of all trees in one row. A leaf leads to itself: every tree may take as many steps as the deepest."""

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self._roots = arrays["roots"].astype(np.intp)
        self._feature = arrays["feature"].astype(np.intp)
        self._threshold = arrays["threshold"].astype(np.float32)
        self._next = np.stack([arrays["right"], arrays["left"]], axis=1).astype(np.intp).ravel()
        self._value = arrays["value"].astype(np.float32)
        self._depth = int(arrays["depth"])

    def logit(self, features: Floats) -> float:
        """Return the sum of the leaves that *features* come to."""
        node = self._roots
        for _ in range(self._depth):
            left = features[self._feature[node]] <= self._threshold[node]
            node = self._next[2 * node + left]
        return float(self._value[node].sum(dtype=np.float64))


def pack(forests: Sequence[Sequence[Mapping[str, Any]]]) -> Arrays:
    """Return the mean of LightGBM's *forests*, each the `tree_info` of a `dump_model`, as arrays."""
    nodes: list[_Node] = []
    trees = [tree["tree_structure"] for forest in forests for tree in forest]
    roots = [_add(tree, nodes) for tree in trees]
    depth = max(_depth(tree) for tree in trees)
    feature, threshold, left, right, value = (np.array(column) for column in zip(*nodes, strict=True))
    return {
        "roots": np.array(roots, np.int32),
        "feature": feature.astype(np.int16),
        "threshold": threshold.astype(np.float32),
        "left": left.astype(np.int32),
        "right": right.astype(np.int32),
        "value": (value / len(forests)).astype(np.float32),
        "depth": np.array(depth, np.int16),
    }


def _add(structure: Mapping[str, Any], nodes: list[_Node]) -> int:
    at = len(nodes)
    if "leaf_value" in structure:
        nodes.append(_Node(0, 0.0, at, at, structure["leaf_value"]))
        return at
    nodes.append(_Node(0, 0.0, at, at, 0.0))
    left, right = _add(structure["left_child"], nodes), _add(structure["right_child"], nodes)
    nodes[at] = _Node(structure["split_feature"], structure["threshold"], left, right, 0.0)
    return at


def _depth(structure: Mapping[str, Any]) -> int:
    if "leaf_value" in structure:
        return 0
    return 1 + max(_depth(structure["left_child"]), _depth(structure["right_child"]))
