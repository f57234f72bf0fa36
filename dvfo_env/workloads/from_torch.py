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
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.graph import Shape
from dvfo_env.workloads.merging import Merged, Node, Role, merge

INPUT_NAME = "image"

_VIEWS = {
    *(
        "view",
        "_unsafe_view",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
    ),
    *("t", "contiguous", "clone", "alias", "expand", "detach", "expand_as", "view_as", "movedim", "swapaxes"),
    *("pad", "constant_pad_nd", "reflection_pad2d"),
    *("replication_pad2d", "_to_copy", "to", "lift_fresh_copy", "numpy_T", "mT", "adjoint", "unfold"),
    *("split", "split_with_sizes", "chunk", "unbind", "tensor_split"),
}
_DROPOUTS = {"dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout", "alpha_dropout_"}
_SLICES = {"select", "slice", "narrow", "index_select"}
_REDUCTIONS = {"mean", "sum", "amax", "amin", "var", "std", "var_mean", "prod", "norm", "linalg_vector_norm"}
_KINDS = {
    "conv1d": "conv",
    "conv2d": "conv",
    "conv3d": "conv",
    "convolution": "conv",
    "conv_transpose1d": "conv_transpose",
    "conv_transpose2d": "conv_transpose",
    "linear": "linear",
    "addmm": "linear",
    "mm": "matmul",
    "bmm": "matmul",
    "matmul": "matmul",
    "einsum": "matmul",
    "baddbmm": "matmul",
    "scaled_dot_product_attention": "attention",
    "batch_norm": "batch_norm",
    "layer_norm": "layer_norm",
    "group_norm": "group_norm",
    "instance_norm": "instance_norm",
    "rms_norm": "rms_norm",
    "max_pool1d": "max_pool",
    "max_pool2d": "max_pool",
    "max_pool2d_with_indices": "max_pool",
    "avg_pool1d": "avg_pool",
    "avg_pool2d": "avg_pool",
    "adaptive_avg_pool1d": "global_pool",
    "adaptive_avg_pool2d": "global_pool",
    "adaptive_max_pool2d": "global_pool",
    "cat": "concat",
    "concat": "concat",
    "stack": "concat",
    "upsample_nearest2d": "upsample",
    "upsample_bilinear2d": "upsample",
    "interpolate": "upsample",
    "softmax": "softmax",
    "_softmax": "softmax",
    "log_softmax": "softmax",
    "embedding": "embedding",
    "pixel_shuffle": "pixel_shuffle",
    "lstm": "lstm",
    "gru": "gru",
}
_MANY_OUTPUTS = {"split", "split_with_sizes", "chunk", "unbind", "tensor_split"}
_PLAIN_KINDS = {"add": "add", "add_": "add", "mul": "mul", "mul_": "mul", "sub": "sub", "div": "div"}


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
        elif node.op == "call_function" and _op_name(node) in _DROPOUTS:  # does nothing in evaluation mode
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
        name = _op_name(node)
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
    packet = getattr(torch.ops.aten, _op_name(node).removesuffix("_"), None)
    target = getattr(packet, getattr(node.target, "_overloadname", ""), None)
    if target is None:
        raise ConfigError(f"model: {node.name} ({node.target}) writes into its input and cannot do without")
    return target


def _shares_memory(node: fx.Node) -> bool:
    """Whether something else reads the memory that this tensor looks at."""
    while node.op == "call_function" and (
        _role(node) in ("view", "slice") or node.target is operator.getitem
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
            if _op_name(node) not in _MANY_OUTPUTS and used - {0}:
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
    name = _op_name(node)
    if node.target is operator.getitem:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        role: Role = "slice" if _op_name(source) in _MANY_OUTPUTS else "view"
        shape = _shape(value.shape)
        return Node(node.name, node.name, "slice", role, inputs, shape)
    kind = _kind(name)
    weights = [source for source in node.all_input_nodes if source.name in constants]
    sizes = {source: _elements(module, source) for source in weights}
    parameters = sum(size for source, size in sizes.items() if _attributes(source) & trained)
    if kind == "batch_norm":
        channels = int(value.shape[1])
        return Node(
            node.name,
            _layer(node, kind),
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
        _layer(node, kind),
        kind,
        _role(node),
        inputs,
        _shape(value.shape),
        flops=_flops(node),
        parameters=parameters,
        weight_elements=sum(size for size in sizes.values() if size > 1),
        bias=kind in ("conv", "linear") and len(weights) > 1,
    )


def _op_name(node: fx.Node) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    packet = getattr(node.target, "overloadpacket", None)
    if packet is not None:
        return str(packet.__name__)
    return str(getattr(node.target, "__name__", node.target))


def _kind(name: str) -> str:
    return _KINDS.get(name) or _PLAIN_KINDS.get(name) or name.strip("_")


def _role(node: fx.Node) -> Role:
    name = _op_name(node)
    bare = name.rstrip("_") if name.rstrip("_") else name
    if name in _VIEWS or bare in _VIEWS:
        return "view"
    if name in _SLICES:
        return "slice"
    if name in _REDUCTIONS:
        return "reduction"
    if _KINDS.get(name) == "softmax":
        return "elementwise"
    if name in _KINDS:
        return "operation"
    tags = getattr(node.target, "tags", ())
    if torch.Tag.pointwise in tags:
        return "elementwise"
    return "operation"


def _layer(node: fx.Node, kind: str) -> str:
    """Path of the module that runs the node; inside a module of several, its kind is added."""
    stack = node.meta.get("nn_module_stack") or {}
    path, owner = next(reversed(stack.values()), ("", ""))
    owner = owner if isinstance(owner, str) else owner.__module__
    leaf = (
        owner.startswith("torch.nn.modules")
        and kind not in ("attention",)
        and "activation.Multihead" not in owner
    )
    if path and leaf and "container" not in owner:
        return str(path)
    return f"{path}.{kind}" if path else kind


def _flops(node: fx.Node) -> int:
    """What torch's counter says for the node alone, two per multiply-accumulate."""
    if _role(node) in ("view", "slice", "elementwise", "reduction"):
        return 0
    args: Any = fx.node.map_arg(node.args, _value)
    kwargs: Any = fx.node.map_arg(node.kwargs, _value)
    if _op_name(node) == "scaled_dot_product_attention":
        query, key, values = args[:3]
        return int(sdpa_flop_count(query.shape, key.shape, values.shape))  # type: ignore[no-untyped-call]
    assert callable(node.target)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        node.target(*args, **kwargs)
    return int(counter.get_total_flops())


def _value(node: fx.Node) -> Any:
    return node.meta["val"]


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
