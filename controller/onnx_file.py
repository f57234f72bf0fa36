"""Which ONNX models a bundle may hold: plain arithmetic on constants inside the file, and nothing else.

The bytes are walked as protobuf says and every field that is not on the list is refused, before onnxruntime
sees them: no data outside the file, no custom domains or functions, no control flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from dvfo_env.errors import BundleError

#: Operators of ONNX's own domain that a policy may use.
OPERATORS = frozenset(
    (
        *("Add", "ArgMax", "Cast", "Gather", "Gemm", "GreaterOrEqual"),
        *("Identity", "MatMul", "ReduceSum", "Relu", "Reshape", "Tanh"),
    )
)
#: What onnxruntime 1.18 runs.
NEWEST_OPSET, NEWEST_IR = 21, 10
#: Bytes an element of every data type a bundle may hold, by its number in ONNX.
ITEM_BYTES = {1: 4, 2: 1, 3: 1, 5: 2, 6: 4, 7: 8, 9: 1, 11: 8}

_MODEL = {1: "ir_version", 2: "producer_name", 3: "producer_version", 7: "graph", 8: "opset_import"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 11: "input", 12: "output"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 7: "floats", 8: "ints", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data"}
_OUTSIDE = {13: "external_data", 14: "data_location"}
_OPSET = {1: "domain", 2: "version"}


class _Field(NamedTuple):
    name: str
    value: int | bytes


def check_onnx(data: bytes, where: str) -> None:
    """Refuse a model that is more than arithmetic on its own constants.

    Raises:
        BundleError: names the file and what it holds.
    """
    for field in _message(data, _MODEL, f"{where}: model"):
        if field.name == "graph":
            _check_graph(_bytes(field, where), where)
        elif field.name == "opset_import":
            _check_opset(_bytes(field, where), where)
        elif field.name == "ir_version" and (ir := _number(field, where)) > NEWEST_IR:
            raise BundleError(f"{where}: ONNX IR version {ir}, at most {NEWEST_IR} is allowed")


def _check_opset(data: bytes, where: str) -> None:
    for field in _message(data, _OPSET, f"{where}: opset"):
        if field.name == "domain" and field.value not in (b"", b"ai.onnx"):
            raise BundleError(f"{where}: holds operators of the domain {_text(field)!r}")
        if field.name == "version" and (opset := _number(field, where)) > NEWEST_OPSET:
            raise BundleError(f"{where}: ONNX opset {opset}, at most {NEWEST_OPSET} is allowed")


def _check_graph(data: bytes, where: str) -> None:
    for field in _message(data, _GRAPH, f"{where}: graph"):
        if field.name == "node":
            _check_node(_bytes(field, where), where)
        elif field.name == "initializer":
            _check_tensor(_bytes(field, where), where)


def _check_node(data: bytes, where: str) -> None:
    for field in _message(data, _NODE, f"{where}: node"):
        if field.name == "domain" and field.value != b"":
            raise BundleError(f"{where}: holds operators of the domain {_text(field)!r}")
        if field.name == "op_type" and _text(field) not in OPERATORS:
            raise BundleError(f"{where}: holds the operator {_text(field)!r}, which no policy needs")
        if field.name == "attribute":
            for _ in _message(_bytes(field, where), _ATTRIBUTE, f"{where}: attribute"):
                pass


def _check_tensor(data: bytes, where: str) -> None:
    dims: list[int] = []
    kind, size = 0, 0
    for field in _message(data, _TENSOR | _OUTSIDE, f"{where}: tensor"):
        if field.name in _OUTSIDE.values():
            raise BundleError(f"{where}: keeps data outside the file ({field.name})")
        if field.name == "dims":
            dims += _packed(field.value) if isinstance(field.value, bytes) else [field.value]
        elif field.name == "data_type":
            kind = _number(field, where)
        elif field.name == "raw_data":
            size = len(_bytes(field, where))
    if kind not in ITEM_BYTES:
        raise BundleError(f"{where}: holds a tensor of data type {kind}")
    if any(n >= 1 << 40 for n in dims) or prod(dims) * ITEM_BYTES[kind] != size:
        raise BundleError(f"{where}: a tensor of shape {dims} has {size} bytes")


def _message(data: bytes, known: dict[int, str], where: str) -> Iterator[_Field]:
    """The fields of a protobuf message; one that is not known is refused."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at, where)
        number, wire = key >> 3, key & 7
        value: int | bytes
        if wire == 0:
            value, at = _varint(data, at, where)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            value, at = data[at : at + length], at + length
        elif wire == 2:
            length, at = _varint(data, at, where)
            value, at = data[at : at + length], at + length
        else:
            raise BundleError(f"{where}: is no ONNX (wire type {wire})")
        if at > len(data):
            raise BundleError(f"{where}: is cut short")
        if number not in known:
            raise BundleError(f"{where}: holds field {number}, which no policy needs")
        yield _Field(known[number], value)


def _varint(data: bytes, at: int, where: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise BundleError(f"{where}: is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BundleError(f"{where}: is no ONNX (a number of more than 10 bytes)")


def _packed(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at, "dims")
        values.append(value)
    return values


def _bytes(field: _Field, where: str) -> bytes:
    if not isinstance(field.value, bytes):
        raise BundleError(f"{where}: {field.name}: is no ONNX")
    return field.value


def _number(field: _Field, where: str) -> int:
    if not isinstance(field.value, int):
        raise BundleError(f"{where}: {field.name}: is no ONNX")
    return field.value


def _text(field: _Field) -> str:
    return field.value.decode("utf-8", "replace")[:80] if isinstance(field.value, bytes) else str(field.value)
