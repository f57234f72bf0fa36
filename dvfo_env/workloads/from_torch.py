"""A torch module as a graph of operations: traced by `torch.export`, counted by torch's own FLOP counter.

Tracing needs an example input and moves nothing but shapes: it works on the `meta` device, too, where
weights take no memory. The model is put into evaluation mode; attention's fast path is off while tracing,
because the counter does not see into it.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.graph import Shape
from dvfo_env.workloads.merging import Merged, Node, Role, merge
from dvfo_env.workloads.torch_operators import (
    DROPOUTS,
    MANY_OUTPUTS,
    count_flops,
    kind_of,
    layer_of,
    operator_name,
    role_of,
)

INPUT_NAME = "image"


@dataclass(frozen=True)
class TorchTrace:
    """A traced module.

    Attributes:
        module: the traced graph with its weights; runs like the model.
        input: name of the input's node.
        input_name: what cuts call it.
        input_shape: without the batch dimension.
        merged: its operations.
        parameters: trained parameters that inference reads.
    """

    module: fx.GraphModule
    input: str
    input_name: str
    input_shape: Shape
    merged: Merged
    parameters: int


def trace_torch(model: torch.nn.Module, example: torch.Tensor, input_name: str = INPUT_NAME) -> TorchTrace:
    """Trace a module.

    Args:
        model: any module with one tensor as input that `torch.export` can trace.
        example: an input of the right shape, batch 1; on the model's device (`meta` is enough).
        input_name: what the input is called in cuts.

    Raises:
        ConfigError: the module cannot be traced, takes more than this one input, writes into a view, or has
            an operation with several outputs that others read.
    """
    if example.ndim < 1 or example.shape[0] != 1:
        raise ConfigError(f"example input: first dimension is the batch and must be 1: {list(example.shape)}")
    model = model.eval()
    module = _export(model, example)
    fx_nodes = [node for node in module.graph.nodes if node.op not in ("output",)]
    placeholders = [node for node in fx_nodes if node.op == "placeholder"]
    if len(placeholders) != 1:
        raise ConfigError(
            f"model: takes {len(placeholders)} input tensors, exactly one is supported; "
            "wrap it in a module that holds the others as constants"
        )
    _replace_in_place(module)
    nodes, constants = _nodes(module, placeholders[0], model)
    output = next(node for node in module.graph.nodes if node.op == "output")
    answer = tuple(
        node.name for node in torch.utils._pytree.tree_leaves(output.args[0]) if isinstance(node, fx.Node)
    )
    fixed = [name for name in answer if name in constants]
    if fixed or not answer:
        raise ConfigError(f"model: output {fixed[0] if fixed else ''} does not depend on the input")
    if placeholders[0].name in answer:
        raise ConfigError("model: gives its input back unchanged as an output")
    shape = _shape(example.shape)
    entry = placeholders[0].name
    merged = merge(nodes, {entry: shape}, answer).with_input(entry, input_name)
    return TorchTrace(
        module=module,
        input=placeholders[0].name,
        input_name=input_name,
        input_shape=shape,
        merged=merged,
        parameters=_parameters(module),
    )


def _export(model: torch.nn.Module, example: torch.Tensor) -> fx.GraphModule:
    with _no_fast_path(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = torch.export.export(model, (example,), strict=False).module()
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"model: torch.export cannot trace it: {reason}") from error
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.op == "call_module" or (
            node.op == "call_function"
            and node.target
            in (
                torch.ops.aten._assert_tensor_metadata.default,
                torch.ops.aten._assert_scalar.default,
            )
        ):  # torch's own check of the example's shape
            module.graph.erase_node(node)
        elif (
            node.op == "call_function" and operator_name(node) in DROPOUTS
        ):  # does nothing in evaluation mode
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


@contextmanager
def _no_fast_path() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _replace_in_place(module: fx.GraphModule) -> None:
    """Later readers of a tensor that is written in place read the result instead."""
    latest: dict[fx.Node, fx.Node] = {}

    def current(argument: fx.Node) -> fx.Node:
        while argument in latest:
            argument = latest[argument]
        return argument

    for node in module.graph.nodes:
        node.args = fx.node.map_arg(node.args, current)
        node.kwargs = fx.node.map_arg(node.kwargs, current)
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None or not schema.is_mutable:
            continue
        written = node.args[0]
        name = operator_name(node)
        if not name.endswith("_") or not isinstance(written, fx.Node) or _shares_memory(written):
            raise ConfigError(f"model: {node.name} ({node.target}) writes into a part of a tensor in place")
        if written.op == "placeholder" or len(written.users) > 1:
            node.target = out_of_place(node)
        latest[written] = node
    module.recompile()


def out_of_place(node: fx.Node) -> Any:
    """The operator that makes a new tensor where the node's writes into its input: `relu` for `relu_`.

    Raises:
        ConfigError: there is none.
    """
    packet = getattr(torch.ops.aten, operator_name(node).removesuffix("_"), None)
    target = getattr(packet, getattr(node.target, "_overloadname", ""), None)
    if target is None:
        raise ConfigError(f"model: {node.name} ({node.target}) writes into its input and cannot do without")
    return target


def _shares_memory(node: fx.Node) -> bool:
    """Whether something else reads the memory that this tensor looks at."""
    while node.op == "call_function" and (
        role_of(node) in ("view", "slice") or node.target is operator.getitem
    ):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if len(source.users) > 1:
            return True
        node = source
    return False


def _nodes(
    module: fx.GraphModule, placeholder: fx.Node, model: torch.nn.Module
) -> tuple[list[Node], set[str]]:
    """The nodes that depend on the input, and the names of those that do not."""
    nodes: list[Node] = []
    constants: set[str] = set()
    tuples: dict[str, fx.Node] = {}
    trained = {name for name, _ in model.named_parameters()}
    for node in module.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        reads = tuple(dict.fromkeys(source.name for source in node.all_input_nodes))
        if node.op == "get_attr" or all(name in constants for name in reads):
            constants.add(node.name)
            continue
        value = node.meta["val"]
        inputs = tuple(name for name in reads if name not in constants)
        if isinstance(value, tuple | list):
            tuples[node.name] = node
            used = {user.args[1] for user in node.users if user.target is operator.getitem}
            if operator_name(node) not in MANY_OUTPUTS and used - {0}:
                raise ConfigError(
                    f"model: {node.name} ({node.target}) has {len(value)} outputs that are read; "
                    "only operations with one output can be cut around"
                )
            value = value[0]
        if not isinstance(value, torch.Tensor):
            raise ConfigError(
                f"model: {node.name} depends on the values in the input, not on its shape alone"
            )
        if any(not isinstance(size, int) for size in value.shape):
            raise ConfigError(f"model: {node.name} has a shape that depends on the values in the input")
        nodes.append(_node(module, node, inputs, value, constants, trained, tuples))
    return nodes, constants


def _node(
    module: fx.GraphModule,
    node: fx.Node,
    inputs: tuple[str, ...],
    value: torch.Tensor,
    constants: set[str],
    trained: set[str],
    tuples: dict[str, fx.Node],
) -> Node:
    name = operator_name(node)
    if node.target is operator.getitem:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        role: Role = "slice" if operator_name(source) in MANY_OUTPUTS else "view"
        shape = _shape(value.shape)
        return Node(node.name, node.name, "slice", role, inputs, shape)
    kind = kind_of(name)
    weights = [source for source in node.all_input_nodes if source.name in constants]
    sizes = {source: _elements(module, source) for source in weights}
    parameters = sum(size for source, size in sizes.items() if _attributes(source) & trained)
    if kind == "batch_norm":
        channels = int(value.shape[1])
        return Node(
            node.name,
            layer_of(node, kind),
            kind,
            "elementwise",
            inputs,
            _shape(value.shape),
            parameters=parameters,
            weight_elements=2 * channels,
            running_statistics=2 * channels,
        )
    return Node(
        node.name,
        layer_of(node, kind),
        kind,
        role_of(node),
        inputs,
        _shape(value.shape),
        flops=count_flops(node),
        parameters=parameters,
        weight_elements=sum(size for size in sizes.values() if size > 1),
        bias=kind in ("conv", "linear") and len(weights) > 1,
    )


def _attributes(node: fx.Node) -> set[str]:
    """Names of the attributes a constant node is made of."""
    if node.op == "get_attr":
        return {str(node.target)}
    return (
        set().union(*(_attributes(source) for source in node.all_input_nodes))
        if node.all_input_nodes
        else set()
    )


def _elements(module: fx.GraphModule, node: fx.Node) -> int:
    if node.op == "get_attr":
        value: Any = module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        return value.numel() if isinstance(value, torch.Tensor) else 0
    sources = [_elements(module, source) for source in node.all_input_nodes]
    if sources:
        return sum(sources)
    value = node.meta.get("val")
    return value.numel() if isinstance(value, torch.Tensor) else 0


def _parameters(module: fx.GraphModule) -> int:
    names = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    return sum(value.numel() for name, value in module.named_parameters() if name in names)


def _shape(size: torch.Size) -> Shape:
    """Without the batch dimension where that is 1; a single number has shape (1,)."""
    sizes = tuple(int(edge) for edge in size)
    if len(sizes) > 1 and sizes[0] == 1:
        sizes = sizes[1:]
    return sizes if prod(sizes) and sizes else (1,)
