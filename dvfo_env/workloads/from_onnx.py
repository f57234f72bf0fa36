"""An ONNX model as a graph of operations.

The model is run once by onnxruntime on zeros, unoptimised, with every intermediate tensor as an output:
that gives all shapes, for any opset and operator that onnxruntime runs, and the values that depend on
shapes alone, which become constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.graph import Shape
from dvfo_env.workloads.merging import Merged, Node, Role, merge

if TYPE_CHECKING:
    import onnx
from dvfo_env.workloads.onnx_operators import count_flops, kind_of, layer_of, reads_weights, role_of

Array = npt.NDArray[Any]
_CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
_VALUES_DECIDE_SHAPES = {"NonZero", "NonMaxSuppression", "Unique", "Compress"}


@dataclass(frozen=True)
class OnnxTrace:
    """An ONNX model with the shapes of all its tensors.

    Attributes:
        model: functions inlined, input shape fixed.
        constants: tensors that do not depend on the input's values, beyond the model's own initializers.
        tensors: name of every tensor -> its shape with the batch dimension, and its type.
        input_tensor, input_name: the input's name in the model and in cuts.
        input_shape: without the batch dimension.
        merged: its operations.
        parameters: numbers in the weights that inference reads.
    """

    model: onnx.ModelProto
    constants: dict[str, Array]
    tensors: dict[str, tuple[Shape, np.dtype[Any]]]
    input_tensor: str
    input_name: str
    input_shape: Shape
    merged: Merged
    parameters: int


def trace_onnx(
    path: str | PathLike[str], input_shape: Sequence[int] | None = None, input_name: str = "image"
) -> OnnxTrace:
    """Read and trace an ONNX model.

    Args:
        path: of the .onnx file.
        input_shape: with the batch dimension, for models that leave dimensions open; a batch dimension that
        is
            open is 1.
        input_name: what the input is called in cuts.

    Raises:
        ConfigError: onnx or onnxruntime is missing, the file cannot be read or run, has other than one input,
            an open dimension, control flow, or an operation whose output shape depends on values.
    """
    onnx, runtime = _packages()
    model = _read(Path(path), onnx)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    entry = _fix_input(model, input_shape, path)
    constant = _constant_names(model, path)
    tensors, constants = _run(model, entry, constant, runtime, path)
    answers = [output.name for output in model.graph.output]
    if any(name in constant for name in answers) or entry in answers:
        raise ConfigError(f"{path}: an output does not depend on the input, or is the input")
    nodes = _nodes(model, constant, constants, tensors, path)
    shape = _shape(tensors[entry][0])
    merged = merge(nodes, {entry: shape}, answers).with_input(entry, input_name)
    return OnnxTrace(
        model=model,
        constants=constants,
        tensors=tensors,
        input_tensor=entry,
        input_name=input_name,
        input_shape=shape,
        merged=merged,
        parameters=sum(operation.parameters for operation in merged.operations),
    )


def _packages() -> tuple[Any, Any]:
    """The packages, imported late: loading a card needs neither."""
    import onnx
    import onnx.inliner
    import onnxruntime

    return onnx, onnxruntime


def _read(path: Path, onnx: Any) -> Any:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        return onnx.load(path)
    except Exception as error:
        raise ConfigError(f"{path}: is not a readable ONNX model: {_first_line(error)}") from error


def _fix_input(model: Any, input_shape: Sequence[int] | None, path: object) -> str:
    """Set the input's shape in the model; returns the input's name."""
    initializers = {initializer.name for initializer in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in initializers]
    if len(inputs) != 1:
        names = ", ".join(repr(entry.name) for entry in inputs)
        raise ConfigError(
            f"{path}: has {len(inputs)} inputs ({names}), exactly one is supported; make the others constants"
        )
    (entry,) = inputs
    dimensions = entry.type.tensor_type.shape.dim
    if input_shape is not None and len(input_shape) != len(dimensions):
        raise ConfigError(
            f"{path}: input {entry.name!r} has {len(dimensions)} dimensions, "
            f"the shape given has {len(input_shape)}: {'x'.join(map(str, input_shape))}"
        )
    for number, dimension in enumerate(dimensions):
        fixed = dimension.dim_value if dimension.HasField("dim_value") else None
        wanted = fixed if input_shape is None else int(input_shape[number])
        if wanted is None and number == 0:
            wanted = 1
        if wanted is None or wanted < 1:
            called = dimension.dim_param or "?"
            raise ConfigError(
                f"{path}: input {entry.name!r}: dimension {number} ({called}) is open; "
                "give the whole shape with --input-shape"
            )
        if fixed is not None and fixed > 0 and fixed != wanted:
            raise ConfigError(
                f"{path}: input {entry.name!r}: dimension {number} is fixed to {fixed}, "
                f"{wanted} was asked for"
            )
        dimension.Clear()
        dimension.dim_value = wanted
    if dimensions and dimensions[0].dim_value != 1:
        raise ConfigError(
            f"{path}: input {entry.name!r}: first dimension is the batch and must be 1, "
            f"it is {dimensions[0].dim_value}"
        )
    return str(entry.name)


def _constant_names(model: Any, path: object) -> set[str]:
    """Tensors that are the same for every input of this shape."""
    constant = {initializer.name for initializer in model.graph.initializer} | {""}
    constant |= {initializer.values.name for initializer in model.graph.sparse_initializer}
    for node in model.graph.node:
        if node.op_type in _CONTROL_FLOW or node.op_type.startswith("Random"):
            raise ConfigError(
                f"{path}: {node.op_type} ({node.name}) is not supported: control flow or chance"
            )
        if node.op_type in ("Shape", "Size") or all(name in constant for name in node.input):
            constant.update(node.output)
        elif node.op_type in _VALUES_DECIDE_SHAPES:
            raise ConfigError(
                f"{path}: {node.op_type} ({node.name}): its output's shape depends on values; "
                "export the model without its post-processing"
            )
    return constant - {""}


def _run(
    model: Any, entry: str, constant: set[str], runtime: Any, path: object
) -> tuple[dict[str, tuple[Shape, np.dtype[Any]]], dict[str, Array]]:
    """Shapes of all tensors, and values of the constant ones that nodes make, by one run on zeros."""
    import onnx

    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    made = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    del seen.graph.output[:]
    seen.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(
            seen.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        (asked,) = (given for given in session.get_inputs() if given.name == entry)
        element = next(i for i in model.graph.input if i.name == entry).type.tensor_type.elem_type
        zeros = np.zeros(asked.shape, dtype=onnx.helper.tensor_dtype_to_np_dtype(element))
        values = dict(zip(made, session.run(made, {entry: zeros}), strict=True))
    except Exception as error:
        raise ConfigError(f"{path}: onnxruntime cannot run it: {_first_line(error)}") from error
    tensors = {entry: (tuple(zeros.shape), zeros.dtype)}
    constants: dict[str, Array] = {}
    for name, value in values.items():
        if not isinstance(value, np.ndarray):
            raise ConfigError(
                f"{path}: {name} is no tensor but a sequence or map, which cannot be cut around"
            )
        tensors[name] = (tuple(value.shape), value.dtype)
        if name in constant:
            constants[name] = value
    return tensors, constants


def _nodes(
    model: Any,
    constant: set[str],
    constants: dict[str, Array],
    tensors: dict[str, tuple[Shape, np.dtype[Any]]],
    path: object,
) -> list[Node]:
    sizes = {
        initializer.name: (tuple(initializer.dims), initializer.data_type in _floats())
        for initializer in model.graph.initializer
    }
    sizes |= {name: (value.shape, value.dtype.kind == "f") for name, value in constants.items()}
    read = {name for node in model.graph.node for name in node.input}
    read |= {output.name for output in model.graph.output}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    nodes = []
    for node in model.graph.node:
        if all(name in constant for name in node.output if name):
            continue
        outputs = [name for name in node.output if name and name in read]
        if len(outputs) > 1 and node.op_type != "Split":
            raise ConfigError(
                f"{path}: {node.op_type} ({node.name}) has {len(outputs)} outputs that are read; "
                "only operations with one output can be cut around"
            )
        inputs = tuple(dict.fromkeys(name for name in node.input if name and name not in constant))
        shapes = [
            tensors[name][0] if name in tensors else sizes[name][0] if name else () for name in node.input
        ]
        weights = [sizes[name][0] for name in node.input if name in sizes and sizes[name][1]]
        if not reads_weights(node.op_type):
            weights = []
        for output in outputs:
            shape = tensors[output][0]
            nodes.append(
                _node(node, output, inputs, shape, shapes, weights, role_of(node, constant, sizes, readers))
            )
    return nodes


def _floats() -> set[int]:
    from onnx import TensorProto

    return {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


def _node(
    node: Any,
    output: str,
    inputs: tuple[str, ...],
    shape: Shape,
    shapes: list[Shape],
    weights: list[Shape],
    role: Role,
) -> Node:
    kind = kind_of(node.op_type)
    counted = sum(prod(weight) for weight in weights if prod(weight) > 1)
    statistics = 0
    if node.op_type == "BatchNormalization":
        statistics = 2 * prod(weights[0])
        counted = statistics
    if node.op_type in ("MatMul", "Einsum") and weights:
        kind = "linear"
    return Node(
        name=output,
        layer=layer_of(node, kind),
        kind=kind,
        role=role,
        inputs=inputs,
        shape=_shape(shape),
        flops=count_flops(node, shapes, shape) if role == "operation" else 0,
        parameters=counted,
        weight_elements=counted,
        running_statistics=statistics,
        bias=kind in ("conv", "linear") and len(weights) > 1,
    )


def _shape(sizes: Sequence[int]) -> Shape:
    shape = tuple(int(size) for size in sizes)
    if len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return (1,) if not shape or 0 in shape else shape


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
