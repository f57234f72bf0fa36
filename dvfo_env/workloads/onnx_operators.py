"""What ONNX operators are to a graph of operations: kind, role, layer and FLOPs.

FLOPs are counted by the formulas of torch's counter: two per multiply-accumulate of convolutions, linear
layers, matrix products and recurrent layers, everything else 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING, Any

from dvfo_env.workloads.graph import Shape
from dvfo_env.workloads.merging import Role

if TYPE_CHECKING:
    pass

_VIEWS = {
    *(
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Identity",
        "Transpose",
        "Dropout",
        "Expand",
        "Pad",
        "Cast",
    ),
    *("CastLike", "DepthToSpace", "SpaceToDepth"),
}
_SLICES = {"Slice", "Gather", "Split"}
_REDUCTIONS = {
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd"),
    *("ReduceSumSquare", "ReduceLogSumExp", "ReduceLogSum"),
}
_ELEMENTWISE = {
    *("Abs", "Add", "And", "BatchNormalization", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf"),
    *("Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less"),
    *("LessOrEqual", "Log", "LogSoftmax", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or"),
    *("PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Softmax"),
    *("Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu", "Where", "Xor"),
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
}
_KINDS = {
    "Add": "add",
    "AveragePool": "avg_pool",
    "BatchNormalization": "batch_norm",
    "Concat": "concat",
    "Conv": "conv",
    "ConvInteger": "conv",
    "ConvTranspose": "conv_transpose",
    "Einsum": "matmul",
    "Gather": "embedding",
    "Gemm": "linear",
    "GlobalAveragePool": "global_pool",
    "GlobalMaxPool": "global_pool",
    "GroupNormalization": "group_norm",
    "LayerNormalization": "layer_norm",
    "LogSoftmax": "softmax",
    "MatMul": "matmul",
    "MatMulInteger": "matmul",
    "MaxPool": "max_pool",
    "Mul": "mul",
    "QLinearConv": "conv",
    "QLinearMatMul": "matmul",
    "Resize": "upsample",
    "Upsample": "upsample",
}
_NO_WEIGHTS = {"Resize", "Upsample", "Clip", "TopK", "OneHot", "Where", "QuantizeLinear", "DequantizeLinear"}


def kind_of(operator: str) -> str:
    """Kind of the operation in cards: `conv` for `Conv`."""
    return _KINDS.get(operator, operator.lower())


def reads_weights(operator: str) -> bool:
    """Whether the constant floats an operator reads are weights, not sizes, bounds or scales."""
    return operator == "Gather" or operator not in _NO_WEIGHTS | _VIEWS | _SLICES | _REDUCTIONS


def role_of(
    node: Any, constant: set[str], sizes: dict[str, tuple[Shape, bool]], readers: dict[str, list[Any]]
) -> Role:
    """What merging may do with the node; `sizes` holds shape and floatness of the constants."""
    name = node.op_type
    if name == "Gather" and node.input[0] in constant:
        return "operation"  # an embedding
    if name in ("Mul", "Div") and any(prod(sizes[i][0]) == 1 for i in node.input if i in sizes):
        final = _through_transpose(node.output[0], readers)
        if final and all(reader.op_type == "MatMul" for reader in final):
            return "view"  # a scale that runtimes fold into the product
    if name in _VIEWS:
        return "view"
    if name in _SLICES:
        return "slice"
    if name in _REDUCTIONS:
        return "reduction"
    return "elementwise" if name in _ELEMENTWISE else "operation"


def _through_transpose(name: str, readers: dict[str, list[Any]]) -> list[Any]:
    found = []
    for reader in readers.get(name, []):
        found += _through_transpose(reader.output[0], readers) if reader.op_type == "Transpose" else [reader]
    return found


def count_flops(node: Any, shapes: list[Shape], shape: Shape) -> int:
    """Two per multiply-accumulate; `shapes` are those of the inputs, `shape` of the output."""
    name = node.op_type
    if name in ("Conv", "ConvInteger"):
        return 2 * prod(shapes[1][1:]) * prod(shape)
    if name == "QLinearConv":
        return 2 * prod(shapes[3][1:]) * prod(shape)
    if name == "ConvTranspose":
        return 2 * prod(shapes[1][1:]) * prod(shapes[0])
    if name == "Gemm":
        transposed = any(item.name == "transA" and item.i for item in node.attribute)
        return 2 * shapes[0][0 if transposed else -1] * prod(shape)
    if name in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return 2 * shapes[0][-1] * prod(shape)
    if name == "Einsum":
        return _einsum_flops(node, shapes)
    if name == "Attention":
        queries, keys = shapes[0][-2], shapes[1][-2]
        heads = prod(shapes[0][1:-2])
        return 2 * shapes[0][0] * heads * queries * keys * (shapes[0][-1] + shape[-1])
    if name in ("LSTM", "GRU", "RNN"):
        return 2 * prod(shapes[0][:2]) * (prod(shapes[1]) + prod(shapes[2]))
    return 0


def _einsum_flops(node: Any, shapes: list[Shape]) -> int:
    equation = next(item.s.decode() for item in node.attribute if item.name == "equation")
    terms = equation.replace(" ", "").split("->")[0].split(",")
    edges: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        letters: Iterable[str] = term.replace("...", "")
        edges |= zip(letters, shape[len(shape) - len(tuple(letters)) :], strict=False)
    if len(terms) < 2:
        return 0
    return 2 * prod(edges.values())


def layer_of(node: Any, kind: str) -> str:
    """Path of the module a node came from where the exporter says so, else the node's own name."""
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), None)
    if scopes is not None:
        path = [scope.strip(" '\"") for scope in scopes.strip("[]").split(",")]
        module = path[-2] if len(path) > 1 else ""
        leaf = kind not in ("add", "mul", "concat", "attention", "matmul")
        if module:
            return module if leaf else f"{module}.{kind}"
        return kind
    parts = [part for part in str(node.name).split("/") if part]
    if not str(node.name).startswith("/") or len(parts) < 1:
        return str(node.name or node.output[0])
    scope: list[str] = []
    for part in parts[:-1]:  # a member of a sequence repeats the sequence's name: /features/features.2
        if scope and part.startswith(scope[-1] + "."):
            scope.pop()
        scope.append(part)
    module = ".".join(scope)
    leaf = kind not in ("add", "mul", "concat", "attention", "matmul")
    return (module if leaf and module else f"{module}.{kind}") if module else kind
