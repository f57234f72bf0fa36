"""Running a network in pieces: the segments between cuts as callables (torch) or as models (ONNX).

    card = load_workload("mobilenet-v2")
    segments = split_module(build_network("mobilenet-v2"), example_input("mobilenet-v2"), card.cuts)
    tensors = (image,)
    for segment in segments:
        tensors = segment(*tensors)

Each segment takes the tensors that cross its first cut, in the order of the card, and gives those that
cross its last. A network's answer that is complete before the end (one head of YOLOv3-tiny) stays on the
device: it is returned behind the crossing tensors by the segment that makes it, and is not taken by the
next (`run_segments` collects them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.card import Cut
from dvfo_env.workloads.cuts import crossing_tensors, execution_order
from dvfo_env.workloads.from_onnx import OnnxTrace, trace_onnx
from dvfo_env.workloads.from_torch import TorchTrace, out_of_place, trace_torch
from dvfo_env.workloads.graph import Graph, Operation, Shape
from dvfo_env.workloads.merging import Merged

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class TorchSegment:
    """What runs between two cuts; call it with the tensors that cross the first.

    Attributes:
        module: the piece of the traced model.
        layers: its operations, in execution order.
        inputs: names of the operations whose tensors it takes.
        outputs: names of the operations whose tensors cross the cut after it.
        answers: numbers, among the outputs of the whole network, of those made here; returned after
            `outputs`. At the last cut nothing crosses and only answers are returned.
    """

    module: fx.GraphModule
    layers: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    answers: tuple[int, ...]

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors of `inputs` -> tensors of `outputs`, then of `answers`."""
        result: tuple[Tensor, ...] = self.module(*tensors)
        return result


def split_module(
    model: torch.nn.Module, example_input: Tensor, cuts: Sequence[Cut | int]
) -> list[TorchSegment]:
    """Split a torch module at cuts.

    Args:
        model: as for `trace_torch`; put into evaluation mode, its weights are shared, not copied.
        example_input: an input of the right shape, batch 1.
        cuts: cuts of the model's card, or numbers of operations done (`Cut.position`), in rising order, the
            first 0 and the last the number of all operations.

    Returns:
        one segment fewer than cuts.

    Raises:
        ConfigError: the model cannot be traced, or the cuts do not belong to it.
    """
    trace = trace_torch(model, example_input)
    order = _Order.of(trace.merged, trace.input_name, trace.input_shape)
    return [_torch_segment(trace, order, *ends) for ends in pairwise(order.positions(cuts))]


def run_segments(segments: Sequence[TorchSegment], image: Tensor) -> tuple[Tensor, ...]:
    """Run segments one after the other: the outputs of the whole network, in its own order."""
    tensors: tuple[Tensor, ...] = (image,)
    answers: dict[int, Tensor] = {}
    for segment in segments:
        results = segment(*tensors)
        tensors = results[: len(segment.outputs)]
        answers |= zip(segment.answers, results[len(segment.outputs) :], strict=True)
    return tuple(answers[number] for number in sorted(answers))


@dataclass(frozen=True)
class _Order:
    """The operations of a model in execution order."""

    graph: Graph
    operations: tuple[Operation, ...]

    @classmethod
    def of(cls, merged: Merged, input_name: str, input_shape: Shape) -> _Order:
        """Order the operations of a traced model."""
        graph = Graph(
            name="model",
            title="model",
            source="model",
            input_name=input_name,
            input_shape=input_shape,
            operations=merged.operations,
            blocks={},
            outputs=merged.outputs,
            answer_bytes=0,
            answer_note="",
        )
        return cls(graph, execution_order(graph))

    def positions(self, cuts: Sequence[Cut | int]) -> list[int]:
        """Positions of the cuts, checked."""
        positions = [cut if isinstance(cut, int) else cut.position for cut in cuts]
        if len(positions) < 2 or positions[0] != 0 or positions[-1] != len(self.operations):
            raise ConfigError(
                f"cuts: must go from 0 to the model's {len(self.operations)} operations, "
                f"found positions {positions}"
            )
        if any(after <= before for before, after in pairwise(positions)):
            raise ConfigError(f"cuts: positions must rise, found {positions}")
        return positions

    def crossing(self, position: int) -> tuple[str, ...]:
        """Names of the operations, or of the input, whose tensors cross a cut."""
        return crossing_tensors(self.graph, self.operations, position)


def _torch_segment(trace: TorchTrace, order: _Order, before: int, after: int) -> TorchSegment:
    operations = order.operations[before:after]
    layers = tuple(operation.name for operation in operations)
    inputs, outputs = order.crossing(before), order.crossing(after)
    answers = [number for number, (_, layer) in enumerate(trace.merged.answers) if layer in layers]
    nodes = {node.name: node for node in trace.module.graph.nodes}
    tensor_of = {trace.input_name: trace.input, **trace.merged.tensor_of}
    copier = _Copier()
    for name in inputs:
        copier.take(nodes[tensor_of[name]])
    for layer in layers:
        for member in trace.merged.members[layer]:
            copier.copy(nodes[member])
    given = [tensor_of[name] for name in outputs] + [trace.merged.answers[number][0] for number in answers]
    copier.graph.output(tuple(copier.copy(nodes[name]) for name in given))
    return TorchSegment(
        module=fx.GraphModule(trace.module, copier.graph),
        layers=layers,
        inputs=inputs,
        outputs=outputs,
        answers=tuple(answers),
    )


class _Copier:
    """Copies nodes of a traced graph into a new one, each after what it reads."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self._copies: dict[fx.Node, fx.Node] = {}
        self._taken: set[fx.Node] = set()

    def take(self, node: fx.Node) -> None:
        """Let the new graph have this node's tensor as an input."""
        self._copies[node] = self.graph.placeholder(node.name)
        self._taken.add(node)

    def copy(self, node: fx.Node) -> fx.Node:
        """The node's copy, made now where there is none yet."""
        if node not in self._copies:
            for source in node.all_input_nodes:
                self.copy(source)
            copy = self.graph.node_copy(node, lambda source: self._copies[source])
            schema = getattr(node.target, "_schema", None)
            if schema is not None and schema.is_mutable and node.args[0] in self._taken:
                copy.target = out_of_place(node)  # what the caller gave stays as it is
            self._copies[node] = copy
        return self._copies[node]


def split_onnx(
    path: str | PathLike[str], cuts: Sequence[Cut | int], input_shape: Sequence[int] | None = None
) -> list[onnx.ModelProto]:
    """Split an ONNX model at cuts.

    A segment's graph inputs are the tensors that cross its first cut and its graph outputs those that cross
    its last, by their names in the model and in the order of the card, then the model's own outputs made
    there. What depends on shapes alone is a constant in each segment.

    Args:
        path: of the .onnx file.
        cuts: as for `split_module`.
        input_shape: as for `trace_onnx`.

    Returns:
        one model fewer than cuts, of the opset of the original.

    Raises:
        ConfigError: as `trace_onnx`, or the cuts do not belong to the model.
    """
    trace = trace_onnx(path, input_shape)
    order = _Order.of(trace.merged, trace.input_name, trace.input_shape)
    return [_onnx_segment(trace, order, *ends) for ends in pairwise(order.positions(cuts))]


def _onnx_segment(trace: OnnxTrace, order: _Order, before: int, after: int) -> onnx.ModelProto:
    import onnx

    graph = trace.model.graph
    tensor_of = {trace.input_name: trace.input_tensor, **trace.merged.tensor_of}
    layers = {operation.name for operation in order.operations[before:after]}
    taken = [tensor_of[name] for name in order.crossing(before)]
    given = [tensor_of[name] for name in order.crossing(after)]
    given += [tensor for tensor, layer in trace.merged.answers if layer in layers and tensor not in given]
    makers = {name: number for number, node in enumerate(graph.node) for name in node.output if name}
    weights = {initializer.name: initializer for initializer in graph.initializer}
    needed: set[int] = set()
    constants: dict[str, onnx.TensorProto] = {}
    waiting = list(given)
    while waiting:
        name = waiting.pop()
        if not name or name in taken or name in constants:
            continue
        if name in weights:
            constants[name] = weights[name]
        elif name in trace.constants:
            constants[name] = onnx.numpy_helper.from_array(trace.constants[name], name)
        elif makers[name] not in needed:
            needed.add(makers[name])
            waiting.extend(graph.node[makers[name]].input)
    segment = onnx.helper.make_graph(
        [graph.node[number] for number in sorted(needed)],
        f"segment from {before} to {after}",
        [_tensor_info(trace, name) for name in taken],
        [_tensor_info(trace, name) for name in given],
        list(constants.values()),
    )
    model = onnx.ModelProto()
    model.CopyFrom(onnx.helper.make_model(segment, opset_imports=trace.model.opset_import))
    model.ir_version = trace.model.ir_version
    return model


def _tensor_info(trace: OnnxTrace, name: str) -> onnx.ValueInfoProto:
    import onnx

    shape, dtype = trace.tensors[name]
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(dtype), shape)
