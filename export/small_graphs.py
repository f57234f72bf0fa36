"""Graphs of policies that are one small function: a constant, a threshold, the values of a few actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dvfo_controller.policies.graph import INPUT, MODEL, OUTPUT
from dvfo_env.observation import DIFFICULTY, OBSERVATION_SIZE
from dvfo_env.tables import ACTION_PARTS
from dvfo_export.graph import GraphBuilder

Ints = NDArray[np.int64]


def constant_graph(action: Ints) -> bytes:
    """Always the same joint action [6]."""
    builder = GraphBuilder()
    return _finished(builder, builder.constant(action))


def two_ways_graph(classes: int, threshold: int, hard: Ints, easy: Ints) -> bytes:
    """`hard` where the class of difficulty is below `threshold`, else `easy`; joint actions [6]."""
    builder = GraphBuilder()
    difficulty = builder.node(
        "Gather", INPUT, builder.constant(np.array([DIFFICULTY], dtype=np.int64)), axis=1
    )
    easiest = builder.constant(np.array([[_first_feature(classes, threshold)]], dtype=np.float32))
    is_easy = builder.node("GreaterOrEqual", difficulty, easiest)
    row = builder.node("Cast", is_easy, to=TensorProto.INT64)
    return _finished(builder, builder.node("Gather", builder.constant(np.stack([hard, easy])), row, axis=0))


def values_graph(columns: Sequence[int], layers: list[NDArray[np.float64]], actions: Ints) -> bytes:
    """The action of `actions` [A, 6] with the highest value; `layers` are weight, bias, weight, ... of a
    network with rectifiers that sees some columns of the observation. float64 throughout.
    """
    builder = GraphBuilder()
    seen = builder.node("Gather", INPUT, builder.constant(np.array(columns, dtype=np.int64)), axis=1)
    values = builder.node("Cast", seen, to=TensorProto.DOUBLE)
    for at in range(0, len(layers), 2):
        values = builder.node("MatMul", values, builder.constant(layers[at]))
        values = builder.node("Add", values, builder.constant(layers[at + 1]))
        if at + 2 < len(layers):
            values = builder.node("Relu", values)
    best = builder.node("ArgMax", values, axis=1, keepdims=0)
    return _finished(builder, builder.node("Gather", builder.constant(actions), best, axis=0))


def _first_feature(classes: int, threshold: int) -> np.float32:
    """The smallest value of the feature that rounds to class `threshold`: what is rounded only grows."""
    top = np.float32(max(classes - 1, 1))
    value = np.float32((threshold - 0.5) / top)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    while np.rint(value * top) >= threshold:
        value = np.nextafter(value, down)
    while np.rint(value * top) < threshold:
        value = np.nextafter(value, up)
    return value


def _finished(builder: GraphBuilder, chosen: str) -> bytes:
    parts = len(ACTION_PARTS)
    reshaped: list[Any] = [chosen, builder.constant(np.array([parts]))]
    builder.nodes.append(helper.make_node("Reshape", reshaped, [OUTPUT]))
    return builder.model(
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, OBSERVATION_SIZE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.INT64, [parts])],
        MODEL,
    )
