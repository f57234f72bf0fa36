"""The whole decision of a trained policy as one ONNX graph, built node by node: scaled observations in,
joint-action indices out.

Networks become Gemm nodes in float64 (see `dvfo_agents.decisions`); the largest score of all parts is one
ArgMax over scores padded to equally many choices; cells of a Box axis are found by comparison with where they
begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dvfo_agents.decisions import (
    Decision,
    LargestOfBranches,
    LargestOfEach,
    LargestOfList,
    Layer,
    Squashed,
)
from dvfo_controller.onnx_file import check_onnx
from dvfo_controller.policies.graph import INPUT, OUTPUT
from dvfo_env.spaces import ActionView
from dvfo_env.tables import ACTION_PARTS
from dvfo_export.actions import cells, columns, pinned

#: onnxruntime 1.18 and all later ones run these.
OPSET, IR_VERSION = 17, 8
_PARTS = len(ACTION_PARTS)


class GraphBuilder:
    """Collects nodes and constants; every tensor gets a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: NDArray[Any]) -> str:
        """Name of a constant."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def wide(self, array: NDArray[np.float32]) -> str:
        """Name of a constant that is kept as float32 and computed with as float64."""
        return self.node("Cast", self.constant(array), to=TensorProto.DOUBLE)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Name of the one output of a new node."""
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def linear(self, values: str, layer: Layer) -> str:
        """The outputs [1, n] of a linear layer."""
        return self.node("Gemm", values, self.wide(layer.weight), self.wide(layer.bias[None]))

    def chain(self, values: str, layers: Sequence[Layer], activation: str) -> str:
        """Linear layers, each with the activation after it."""
        operator = {"relu": "Relu", "tanh": "Tanh"}[activation]
        for layer in layers:
            values = self.node(operator, self.linear(values, layer))
        return values

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], where: str
    ) -> bytes:
        """The file; checked as a device checks it."""
        graph = helper.make_graph(self.nodes, "policy", inputs, outputs, self.constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="dvfo"
        )
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString(deterministic=True)
        check_onnx(data, where)
        return data


def policy_graph(decide: Decision, view: ActionView, features: int) -> bytes:
    """`policy.onnx`: float32 [1, features] stacked observations -> int64 [6] joint-action indices."""
    builder = GraphBuilder()
    values = builder.node("Cast", INPUT, to=TensorProto.DOUBLE)
    match decide:
        case LargestOfEach():
            chosen = _largest_of_each(builder, values, decide, view)
        case LargestOfBranches():
            chosen = _largest_of_branches(builder, values, decide, view)
        case LargestOfList():
            chosen = _largest_of_list(builder, values, decide, view)
        case Squashed():
            chosen = _cell_of_each(builder, values, decide, view)
    builder.nodes.append(
        helper.make_node("Reshape", [chosen, builder.constant(np.array([_PARTS]))], [OUTPUT])
    )
    return builder.model(
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.INT64, [_PARTS])],
        "policy.onnx",
    )


def tables_model(arrays: dict[str, NDArray[Any]]) -> bytes:
    """`tables.onnx`: a model without inputs whose outputs are `arrays` by name, for policies that look up."""
    builder = GraphBuilder()
    outputs = []
    for name, array in arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        builder.nodes.append(helper.make_node("Identity", [builder.constant(array)], [name]))
        outputs.append(helper.make_tensor_value_info(name, kind, list(array.shape)))
    return builder.model([], outputs, "tables.onnx")


def _padded(scores: list[Layer], free: tuple[int, ...], view: ActionView, inputs: int) -> list[Layer]:
    """The layer that scores each of the six parts, padded to equally many choices that are never largest;
    a pinned part has one choice that is.
    """
    longest = max(int(view.sizes.max()), *(1 + (index or 0) for index in pinned(view)))
    padded = []
    for part, index in enumerate(pinned(view)):
        weight = np.zeros((inputs, longest), dtype=np.float32)
        bias = np.full(longest, -np.inf, dtype=np.float32)
        if index is None:
            layer = scores[free.index(part)]
            weight[:, : layer.weight.shape[1]], bias[: layer.bias.shape[0]] = layer
        else:
            bias[index] = 0.0
        padded.append(Layer(weight, bias))
    return padded


def _largest_of_each(builder: GraphBuilder, values: str, decide: LargestOfEach, view: ActionView) -> str:
    *hidden, last = decide.network.layers
    edges = np.cumsum(decide.sizes)[:-1]
    scores = [
        Layer(*pair)
        for pair in zip(np.split(last.weight, edges, axis=1), np.split(last.bias, edges), strict=True)
    ]
    padded = _padded(scores, columns(view), view, last.weight.shape[0])
    values = builder.chain(values, hidden, decide.network.activation)
    joined = Layer(
        np.concatenate([layer.weight for layer in padded], axis=1),
        np.concatenate([layer.bias for layer in padded]),
    )
    scored = builder.linear(values, joined)
    rows = builder.node("Reshape", scored, builder.constant(np.array([_PARTS, -1])))
    return builder.node("ArgMax", rows, axis=1, keepdims=0)


def _largest_of_branches(
    builder: GraphBuilder, values: str, decide: LargestOfBranches, view: ActionView
) -> str:
    free = columns(view)
    width = decide.branches[0][0].weight.shape[1]
    nothing = Layer(np.zeros_like(decide.branches[0][0].weight), np.zeros_like(decide.branches[0][0].bias))
    hidden = [decide.branches[free.index(part)][0] if part in free else nothing for part in range(_PARTS)]
    padded = _padded([branch[1] for branch in decide.branches], free, view, width)
    values = builder.chain(values, decide.trunk, decide.activation)
    joined = Layer(
        np.concatenate([layer.weight for layer in hidden], axis=1),
        np.concatenate([layer.bias for layer in hidden]),
    )
    values = builder.chain(values, [joined], decide.activation)
    rows = builder.node("Reshape", values, builder.constant(np.array([_PARTS, 1, width])))
    scored = builder.node("MatMul", rows, builder.wide(np.stack([layer.weight for layer in padded])))
    biased = builder.node("Add", scored, builder.wide(np.stack([layer.bias[None] for layer in padded])))
    return builder.node("ArgMax", biased, axis=2, keepdims=0)


def _largest_of_list(builder: GraphBuilder, values: str, decide: LargestOfList, view: ActionView) -> str:
    *hidden, last = decide.network.layers
    values = builder.chain(values, hidden, decide.network.activation)
    best = builder.node("ArgMax", builder.linear(values, last), axis=1, keepdims=0)
    return builder.node("Gather", builder.constant(view.to_indices(decide.actions)), best, axis=0)


def _cell_of_each(builder: GraphBuilder, values: str, decide: Squashed, view: ActionView) -> str:
    *hidden, last = decide.network.layers
    free, fixed = columns(view), pinned(view)
    longest = max(int(view.sizes.max()), 2)
    outputs = Layer(np.zeros((last.weight.shape[0], _PARTS), np.float32), np.zeros(_PARTS, np.float32))
    begins = np.full((_PARTS, longest - 1), np.inf)
    choice = np.zeros((_PARTS, longest), dtype=np.int64)
    for part in range(_PARTS):
        choice[part, 0] = fixed[part] or 0
    for i, (part, (thresholds, order)) in enumerate(zip(free, cells(view), strict=True)):
        outputs.weight[:, part], outputs.bias[part] = last.weight[:, i], last.bias[i]
        begins[part, : len(thresholds)] = thresholds
        choice[part, : len(order)] = order
    values = builder.chain(values, hidden, decide.network.activation)
    rows = builder.node("Reshape", builder.linear(values, outputs), builder.constant(np.array([_PARTS, 1])))
    passed = builder.node("GreaterOrEqual", rows, builder.constant(begins))
    counted = builder.node("Cast", passed, to=TensorProto.INT64)
    cell = builder.node("ReduceSum", counted, builder.constant(np.array([1])), keepdims=0)
    place = builder.node("Add", cell, builder.constant(np.arange(_PARTS) * longest))
    return builder.node("Gather", builder.constant(choice.reshape(-1)), place, axis=0)
