"""Cutting an ONNX model in two, wherever a set of tensors crosses; with the protobuf runtime alone.

The model is run once by onnxruntime, unoptimised and on zeros, with every intermediate tensor as an output:
that gives all shapes. What depends on shapes alone becomes a constant, as in the cards of `dvfo workloads
add`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.split.onnx_messages import (
    ELEMENT_TYPES,
    ModelProto,
    TensorProto,
    ValueInfoProto,
    value_info,
)
from dvfo_env.errors import SplitError

Array = NDArray[Any]
_EXTERNAL = 1  # TensorProto.DataLocation


@dataclass(frozen=True)
class Cut:
    """One place to cut: what crosses it, and what the device answers itself.

    Attributes:
        name: as the workload card names it, or the tensors' names.
        tensors: names in the ONNX model of what crosses, in the order in which it is sent; (the input,) where
            nothing has run, () where everything has.
        answers: those of the model's outputs that are complete before the cut; they stay on the device.
    """

    name: str
    tensors: tuple[str, ...]
    answers: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What two cuts under different names have in common where they are the same."""
        return self.tensors, self.answers


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape with the batch dimension, and dtype of a tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Of its values."""
        return prod(self.shape) * self.dtype.itemsize


class Network:
    """An ONNX model that can be cut.

    Args:
        model: bytes of the .onnx file, weights inside.
        input_shape: with the batch dimension, for models that leave more than the batch dimension open.

    Raises:
        SplitError: no ONNX model with one input and its weights inside, or onnxruntime cannot run it.
    """

    def __init__(self, model: bytes, input_shape: Sequence[int] | None = None) -> None:
        self.digest = hashlib.sha256(model).hexdigest()
        self._shell = _parsed(model)
        graph = self._shell.graph
        self._weights = {tensor.name: tensor for tensor in _taken(graph.initializer)}
        self._sparse = {tensor.values.name for tensor in graph.sparse_initializer}
        self._nodes = _taken(graph.node)
        inputs = [entry for entry in _taken(graph.input) if entry.name not in self._weights]
        self.outputs = tuple(entry.name for entry in _taken(graph.output))
        del graph.value_info[:]
        if len(inputs) != 1:
            raise SplitError(f"model: has {len(inputs)} inputs, exactly one is supported")
        self.input = str(inputs[0].name)
        self._element, self._shape = _input_type(inputs[0], input_shape)
        self._maker = {name: i for i, node in enumerate(self._nodes) for name in node.output if name}
        self._reads = [tuple(dict.fromkeys(_read_by(node))) for node in self._nodes]
        self._constant = self._constant_names()
        self._shapes = {name for i in self._shape_nodes() for name in self._nodes[i].output if name}
        if any(name in self._constant or name == self.input for name in self.outputs):
            raise SplitError("model: an output does not depend on the input, or is the input")
        self._baked: dict[str, Any] = {}

    @cached_property
    def tensors(self) -> dict[str, TensorSpec]:
        """Every tensor that depends on the input, the input itself first."""
        made = [name for node in self._nodes for name in node.output if name and name not in self._constant]
        asked = list(dict.fromkeys([*made, *sorted(self._shapes)]))
        model = ModelProto()
        model.CopyFrom(self._shell)
        model.graph.node.extend(self._nodes)
        model.graph.initializer.extend(self._weights.values())
        model.graph.input.append(value_info(self.input, self._element, self._shape))
        model.graph.output.extend(ValueInfoProto(name=name) for name in asked)
        zeros = np.zeros(self._shape, _dtype(self._element))
        values = dict(zip(asked, _run_once(model.SerializeToString(), asked, self.input, zeros), strict=True))
        self._baked = {name: _tensor(name, values[name]) for name in self._shapes}
        specs = {self.input: TensorSpec(self.input, self._shape, zeros.dtype)}
        return specs | {name: TensorSpec(name, values[name].shape, values[name].dtype) for name in made}

    def cuts(self) -> tuple[Cut, ...]:
        """Every cut in the order of the file: before the first operation and after each one.

        Only operations that the outputs need count. Where an operation's tensor is not read, or several
        places let the same tensors cross, there is one cut.
        """
        order = [i for i in sorted(self._needed(self.outputs, ())) if not self._is_constant(i)]
        found: dict[tuple[tuple[str, ...], tuple[str, ...]], Cut] = {}
        for position in range(len(order) + 1):
            later = {name for i in order[position:] for name in self._reads[i]}
            before = (self.input, *(name for i in order[:position] for name in self._nodes[i].output if name))
            answers = tuple(name for name in self.outputs if name in before)
            tensors = tuple(name for name in before if name in later)
            if bool(tensors) == (len(answers) < len(self.outputs)):
                name = self._nodes[order[position - 1]].output[0] if position else self.input
                found.setdefault((tensors, answers), Cut(name, tensors, answers))
        return tuple(found.values())

    def cut(self, tensors: Sequence[str], answers: Sequence[str] | None = None, name: str = "") -> Cut:
        """The cut that these tensors cross.

        Args:
            tensors: names in the model.
            answers: outputs that are complete before it; None: those that the tensors do not suffice for.
            name: of the cut; the tensors' names unless given.

        Raises:
            SplitError: the model has no such tensor, or they do not separate the outputs from the input.
        """
        tensors = tuple(tensors)
        label = name or ",".join(tensors) or "the end"
        for tensor in tensors:
            if tensor != self.input and (tensor not in self._maker or tensor in self._constant):
                raise SplitError(f"cut {label}: the model has no tensor {tensor!r} that depends on the input")
        if len(set(tensors)) != len(tensors):
            raise SplitError(f"cut {label}: names a tensor twice")
        reached = {output: self._reaches_input((output,), tensors) for output in self.outputs}
        if answers is None:
            answers = [output for output in self.outputs if reached[output] or output in tensors]
        left = [output for output in self.outputs if output not in answers]
        if set(answers) - set(self.outputs) or any(reached[output] for output in left):
            raise SplitError(f"cut {label}: the outputs cannot be computed from its tensors")
        if tensors and not left:
            raise SplitError(f"cut {label}: no output can be computed from its tensors alone")
        used = {read for i in self._needed(left, tensors) for read in self._reads[i]} | set(left)
        idle = [tensor for tensor in tensors if tensor not in used]
        if idle:
            raise SplitError(f"cut {label}: nothing after it reads {idle[0]!r}")
        return Cut(label, tensors, tuple(output for output in self.outputs if output in answers))

    @property
    def first(self) -> Cut:
        """Everything on the server."""
        return Cut(self.input, (self.input,))

    @property
    def last(self) -> Cut:
        """Everything on the device."""
        return Cut("the end", (), self.outputs)

    def head(self, cut: Cut) -> bytes:
        """The model from the input to a cut: its outputs are the cut's tensors, then its answers."""
        given = tuple(dict.fromkeys((*cut.tensors, *cut.answers)))
        return self._part((self.input,), tuple(name for name in given if name != self.input))

    def tail(self, cut: Cut, batch: str | None = None) -> bytes:
        """The model from a cut to the outputs that are not complete there.

        With `batch`, the name of an open dimension, the first dimension of every input is left open.
        """
        return self._part(cut.tensors, self.rest(cut), batch)

    def whole(self) -> bytes:
        """The model with its input's shape fixed."""
        return self._part((self.input,), self.outputs)

    def rest(self, cut: Cut) -> tuple[str, ...]:
        """Outputs that are made after a cut, in the model's order."""
        return tuple(output for output in self.outputs if output not in cut.answers)

    def _part(self, taken: tuple[str, ...], given: tuple[str, ...], batch: str | None = None) -> bytes:
        specs = self.tensors
        needed = sorted(self._needed(given, taken))
        model = ModelProto()
        model.CopyFrom(self._shell)
        model.graph.node.extend(self._nodes[i] for i in needed)
        read = {name for i in needed for name in self._reads[i]}
        model.graph.initializer.extend(self._weights[name] for name in sorted(read & self._weights.keys()))
        model.graph.initializer.extend(self._baked[name] for name in sorted(read & self._baked.keys()))
        for name in taken:
            model.graph.input.append(_described(specs[name], batch))
        # an output's shape follows from the inputs'
        model.graph.output.extend(ValueInfoProto(name=name) for name in given)
        return bytes(model.SerializeToString())

    def _needed(self, given: Iterable[str], taken: Iterable[str]) -> set[int]:
        """Numbers of the nodes that compute `given` from `taken`, constants' included."""
        stop = {*taken, self.input, *self._shapes, *self._weights, *self._sparse}
        needed: set[int] = set()
        waiting = list(given)
        while waiting:
            name = waiting.pop()
            if name in stop or (number := self._maker.get(name)) in needed or number is None:
                continue
            needed.add(number)
            waiting.extend(self._reads[number])
        return needed

    def _reaches_input(self, given: tuple[str, ...], taken: Iterable[str]) -> bool:
        if self.input in taken:
            return False
        return any(self.input in self._reads[i] for i in self._needed(given, taken))

    def _is_constant(self, number: int) -> bool:
        return all(name in self._constant for name in self._nodes[number].output if name)

    def _shape_nodes(self) -> list[int]:
        """Numbers of the nodes that look at the shape of what depends on the input."""
        return [
            i
            for i, node in enumerate(self._nodes)
            if node.op_type in ("Shape", "Size") and self._reads[i][0] not in self._constant
        ]

    def _constant_names(self) -> set[str]:
        """Tensors that are the same for every input of this shape."""
        constant = {*self._weights, *self._sparse}
        for node, reads in zip(self._nodes, self._reads, strict=True):
            if node.op_type.startswith("Random"):
                raise SplitError(f"model: {node.op_type} ({node.name}) is not supported: chance")
            if node.op_type in ("Shape", "Size") or all(name in constant for name in reads):
                constant.update(name for name in node.output if name)
        return constant


def _parsed(model: bytes) -> Any:
    from google.protobuf.message import DecodeError

    parsed = ModelProto()
    try:
        parsed.ParseFromString(model)
    except DecodeError:
        raise SplitError("model: is no readable ONNX model") from None
    if not parsed.graph.node:
        raise SplitError("model: is no readable ONNX model: it has no operations")
    if any(tensor.data_location == _EXTERNAL for tensor in parsed.graph.initializer):
        raise SplitError("model: its weights lie in another file; save it as one file")
    return parsed


def _taken(entries: Any) -> list[Any]:
    """The entries of a repeated field, which is empty afterwards."""
    taken = []
    for entry in entries:
        copy = type(entry)()
        copy.CopyFrom(entry)
        taken.append(copy)
    del entries[:]
    return taken


def _input_type(entry: Any, wanted: Sequence[int] | None) -> tuple[int, tuple[int, ...]]:
    """Element type and shape of the model's input."""
    dimensions = entry.type.tensor_type.shape.dim
    if wanted is not None and len(wanted) != len(dimensions):
        raise SplitError(f"model: input {entry.name!r} has {len(dimensions)} dimensions, not {len(wanted)}")
    shape = []
    for number, dimension in enumerate(dimensions):
        fixed = dimension.dim_value if dimension.HasField("dim_value") else 0
        size = fixed if wanted is None else int(wanted[number])
        size = size or (1 if number == 0 else 0)
        if size < 1 or (fixed > 0 and size != fixed):
            raise SplitError(
                f"model: input {entry.name!r}: dimension {number} is open or fixed to another size"
            )
        shape.append(size)
    if not shape or shape[0] != 1:
        raise SplitError(
            f"model: input {entry.name!r}: the first dimension is the batch and must be 1 or open"
        )
    return int(entry.type.tensor_type.elem_type), tuple(shape)


def _read_by(node: Any) -> list[str]:
    """Tensors a node reads, those that its subgraphs take from around them included."""
    reads = [name for name in node.input if name]
    for attribute in node.attribute:
        graphs = list(attribute.graphs)
        if attribute.HasField("g"):
            graphs.append(attribute.g)
        for graph in graphs:
            inside = {entry.name for entry in graph.input} | {entry.name for entry in graph.initializer}
            inside |= {name for inner in graph.node for name in inner.output}
            wanted = [name for inner in graph.node for name in _read_by(inner)]
            wanted += [entry.name for entry in graph.output]
            reads += [name for name in wanted if name not in inside]
    return reads


def _described(spec: TensorSpec, batch: str | None) -> Any:
    shape: tuple[int | str, ...] = spec.shape
    if batch is not None and shape:
        shape = (batch, *shape[1:])
    return value_info(spec.name, ELEMENT_TYPES[spec.dtype.name], shape)


def _dtype(element: int) -> np.dtype[Any]:
    for name, number in ELEMENT_TYPES.items():
        if number == element:
            return np.dtype(name)
    raise SplitError(f"model: its input has element type {element}, which is not supported")


def _tensor(name: str, value: Array) -> Any:
    data = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"))
    return TensorProto(
        name=name, dims=value.shape, data_type=ELEMENT_TYPES[value.dtype.name], raw_data=data.tobytes()
    )


def _run_once(model: bytes, asked: list[str], name: str, value: Array) -> list[Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        values = session.run(asked, {name: value})
    except Exception as error:  # onnxruntime raises types of its own that share no base
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SplitError(f"model: onnxruntime cannot run it: {reason}") from None
    if not all(isinstance(found, np.ndarray) for found in values):
        raise SplitError("model: a sequence or map is made inside, which cannot be cut around")
    return list(values)
