"""The few ONNX messages that cutting a model needs, for the protobuf runtime alone.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Fields that
are not named here survive: protobuf keeps what it does not know. The descriptors live in a pool of their own,
so the `onnx` package may be loaded beside them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_OPTIONAL, _REPEATED = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
_INT64, _INT32, _STRING, _BYTES, _MESSAGE = (
    _Field.TYPE_INT64,
    _Field.TYPE_INT32,
    _Field.TYPE_STRING,
    _Field.TYPE_BYTES,
    _Field.TYPE_MESSAGE,
)

#: Message -> its fields: name, number, label, type, and the message of a field that holds one.
_MESSAGES: dict[str, tuple[tuple[str, int, Any, Any, str], ...]] = {
    "ModelProto": (("graph", 7, _OPTIONAL, _MESSAGE, "GraphProto"),),
    "GraphProto": (
        ("node", 1, _REPEATED, _MESSAGE, "NodeProto"),
        ("name", 2, _OPTIONAL, _STRING, ""),
        ("initializer", 5, _REPEATED, _MESSAGE, "TensorProto"),
        ("input", 11, _REPEATED, _MESSAGE, "ValueInfoProto"),
        ("output", 12, _REPEATED, _MESSAGE, "ValueInfoProto"),
        ("value_info", 13, _REPEATED, _MESSAGE, "ValueInfoProto"),
        ("sparse_initializer", 15, _REPEATED, _MESSAGE, "SparseTensorProto"),
    ),
    "NodeProto": (
        ("input", 1, _REPEATED, _STRING, ""),
        ("output", 2, _REPEATED, _STRING, ""),
        ("name", 3, _OPTIONAL, _STRING, ""),
        ("op_type", 4, _OPTIONAL, _STRING, ""),
        ("attribute", 5, _REPEATED, _MESSAGE, "AttributeProto"),
    ),
    "AttributeProto": (
        ("name", 1, _OPTIONAL, _STRING, ""),
        ("g", 6, _OPTIONAL, _MESSAGE, "GraphProto"),
        ("graphs", 11, _REPEATED, _MESSAGE, "GraphProto"),
    ),
    "TensorProto": (
        ("dims", 1, _REPEATED, _INT64, ""),
        ("data_type", 2, _OPTIONAL, _INT32, ""),
        ("name", 8, _OPTIONAL, _STRING, ""),
        ("raw_data", 9, _OPTIONAL, _BYTES, ""),
        ("data_location", 14, _OPTIONAL, _INT32, ""),
    ),
    "SparseTensorProto": (("values", 1, _OPTIONAL, _MESSAGE, "TensorProto"),),
    "ValueInfoProto": (
        ("name", 1, _OPTIONAL, _STRING, ""),
        ("type", 2, _OPTIONAL, _MESSAGE, "TypeProto"),
    ),
    "TypeProto": (("tensor_type", 1, _OPTIONAL, _MESSAGE, "TensorTypeProto"),),
    "TensorTypeProto": (
        ("elem_type", 1, _OPTIONAL, _INT32, ""),
        ("shape", 2, _OPTIONAL, _MESSAGE, "TensorShapeProto"),
    ),
    "TensorShapeProto": (("dim", 1, _REPEATED, _MESSAGE, "DimensionProto"),),
    "DimensionProto": (
        ("dim_value", 1, _OPTIONAL, _INT64, ""),
        ("dim_param", 2, _OPTIONAL, _STRING, ""),
    ),
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="dvfo_onnx.proto", package="dvfo.onnx", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, label, kind, of in fields:
            entry = message.field.add(name=field, number=number, label=label, type=kind)
            if of:
                entry.type_name = f".dvfo.onnx.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"dvfo.onnx.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _message_classes()
ModelProto: Any = _CLASSES["ModelProto"]
TensorProto: Any = _CLASSES["TensorProto"]
ValueInfoProto: Any = _CLASSES["ValueInfoProto"]

#: numpy's name of a dtype -> number of the element type in ONNX (TensorProto.DataType).
ELEMENT_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
}


def value_info(name: str, element: int, shape: tuple[int | str, ...]) -> Any:
    """A graph's input or output; a size that is a word is an open dimension of that name."""
    info = ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = element
    info.type.tensor_type.shape.SetInParent()
    for size in shape:
        if isinstance(size, str):
            info.type.tensor_type.shape.dim.add(dim_param=size)
        else:
            info.type.tensor_type.shape.dim.add(dim_value=size)
    return info
