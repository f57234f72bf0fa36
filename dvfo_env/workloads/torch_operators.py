"""What torch's operators are to a graph of operations: kind, role, layer and FLOPs."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from dvfo_env.workloads.merging import Role

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
DROPOUTS = {"dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout", "alpha_dropout_"}
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
MANY_OUTPUTS = {"split", "split_with_sizes", "chunk", "unbind", "tensor_split"}
_PLAIN_KINDS = {"add": "add", "add_": "add", "mul": "mul", "mul_": "mul", "sub": "sub", "div": "div"}


def operator_name(node: fx.Node) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    packet = getattr(node.target, "overloadpacket", None)
    if packet is not None:
        return str(packet.__name__)
    return str(getattr(node.target, "__name__", node.target))


def kind_of(name: str) -> str:
    """Kind of the operation in cards: `conv` for `conv2d`."""
    return _KINDS.get(name) or _PLAIN_KINDS.get(name) or name.strip("_")


def role_of(node: fx.Node) -> Role:
    """What merging may do with the node."""
    name = operator_name(node)
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


def layer_of(node: fx.Node, kind: str) -> str:
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


def count_flops(node: fx.Node) -> int:
    """What torch's counter says for the node alone, two per multiply-accumulate."""
    if role_of(node) in ("view", "slice", "elementwise", "reduction"):
        return 0
    args: Any = fx.node.map_arg(node.args, _value)
    kwargs: Any = fx.node.map_arg(node.kwargs, _value)
    if operator_name(node) == "scaled_dot_product_attention":
        query, key, values = args[:3]
        return int(sdpa_flop_count(query.shape, key.shape, values.shape))  # type: ignore[no-untyped-call]
    assert callable(node.target)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        node.target(*args, **kwargs)
    return int(counter.get_total_flops())


def _value(node: fx.Node) -> Any:
    return node.meta["val"]
