"""Small ONNX models: residual, branches, two answers, shapes read at run time."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def small_network(batch: int | str = 1, two_answers: bool = False) -> bytes:
    """A CNN with a residual, two branches that are joined, and optionally an answer half-way.

    Input float32 [batch, 3, 16, 16], output [batch, 10].
    """
    random = np.random.default_rng(7)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def weight(name: str, *shape: int) -> str:
        values = random.normal(0, 0.3, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(name: str, read: str, inside: int, outside: int, stride: int = 1) -> str:
        kernel = weight(f"{name}.w", outside, inside, 3, 3)
        nodes.append(
            helper.make_node(
                "Conv",
                [read, kernel],
                [f"{name}.c"],
                name=f"{name}",
                pads=[1, 1, 1, 1],
                strides=[stride, stride],
            )
        )
        nodes.append(helper.make_node("Relu", [f"{name}.c"], [f"{name}.r"], name=f"{name}.relu"))
        return f"{name}.r"

    stem = conv("stem", "image", 3, 8, 2)
    inner = conv("inner", stem, 8, 8)
    nodes.append(helper.make_node("Add", [stem, inner], ["residual"], name="residual"))
    left, right = conv("left", "residual", 8, 4), conv("right", "residual", 8, 12)
    nodes.append(helper.make_node("Concat", [left, right], ["joined"], name="joined", axis=1))
    last = conv("last", "joined", 16, 8, 2)
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten", axis=1))
    weight("classes.w", 8, 10)
    nodes.append(helper.make_node("MatMul", ["flat", "classes.w"], ["logits"], name="classes"))
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 10])]
    if two_answers:
        after = next(i for i, node in enumerate(nodes) if node.name == "residual") + 1
        nodes.insert(after, helper.make_node("GlobalMaxPool", ["residual"], ["early"], name="early"))
        outputs.insert(0, helper.make_tensor_value_info("early", TensorProto.FLOAT, [batch, 8, 1, 1]))
    return _model(nodes, weights, [batch, 3, 16, 16], outputs)


def shape_reading_network() -> bytes:
    """A model that reshapes by the shape it finds, and has an `If` that reads a tensor from outside it."""
    one = numpy_helper.from_array(np.array(0, np.int64), "zero")
    rest = numpy_helper.from_array(np.array([-1], np.int64), "minus")
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    yes = numpy_helper.from_array(np.array(True), "yes")
    then = helper.make_graph(
        [helper.make_node("Neg", ["scaled"], ["negated"])],
        "then",
        [],
        [helper.make_tensor_value_info("negated", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Abs", ["scaled"], ["positive"])],
        "other",
        [],
        [helper.make_tensor_value_info("positive", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Relu", ["image"], ["positive_part"]),
        helper.make_node("Sigmoid", ["positive_part"], ["scaled"]),
        helper.make_node("Shape", ["positive_part"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"]),
        helper.make_node("Unsqueeze", ["count", "axes"], ["count_1"]),
        helper.make_node("Concat", ["count_1", "minus"], ["wanted"], axis=0),
        helper.make_node("If", ["yes"], ["chosen"], then_branch=then, else_branch=other),
        helper.make_node("Reshape", ["chosen", "wanted"], ["flat"]),
    ]
    outputs = [helper.make_tensor_value_info("flat", TensorProto.FLOAT, None)]
    return _model(nodes, [one, rest, axes, yes], [1, 3, 4, 4], outputs)


def example(seed: int = 0, size: int = 16) -> np.ndarray:
    """An image float32 [1, 3, size, size]."""
    return np.random.default_rng(seed).normal(0, 1, (1, 3, size, size)).astype(np.float32)


def _model(nodes, weights, shape, outputs) -> bytes:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "small", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()
