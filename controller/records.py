"""JSON to frozen dataclasses, strictly: every field is there, has its type, and no other is.

`pydantic` does this elsewhere in the project; on a device there is none.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from functools import lru_cache
from typing import Any, TypeVar

from dvfo_env.errors import BundleError

T = TypeVar("T")
_DEEPEST = 32  # nested lists and objects
_LINE = 120


def parse_json(data: bytes, where: str) -> Any:
    """The value of UTF-8 JSON; NaN, infinity, repeated keys and deep nesting are refused.

    Raises:
        BundleError: names `where` and what is wrong.
    """
    try:
        text = data.decode("utf-8")
        _check_depth(text)
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: is not the JSON expected: {error}") from None


def read_record(kind: type[T], value: Any, where: str) -> T:
    """`value` from JSON as the dataclass `kind`; lists become tuples.

    Raises:
        BundleError: names the field, what was found and what would be right.
    """
    if not isinstance(value, dict):
        raise BundleError(f"{where}: expected an object, found {_shown(value)}")
    fields = _fields(typing.cast(Any, kind))
    if unknown := sorted(set(value) - set(fields)):
        raise BundleError(f"{where}: unknown field {unknown[0]!r}")
    if missing := [name for name in fields if name not in value]:
        raise BundleError(f"{where}: field {missing[0]!r} is missing")
    return kind(**{name: _read(hint, value[name], f"{where}: {name}") for name, hint in fields.items()})


def plain(record: Any) -> Any:
    """The inverse of `read_record`: dictionaries, lists, strings, numbers and None."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {field.name: plain(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, dict):
        return {name: plain(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [plain(value) for value in record]
    return record


def laid_out(value: Any, indent: str = "") -> str:
    """JSON for people: what fits on a line stands on one, all else one entry a line."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list) or not value or (indent and len(indent) + len(flat) <= _LINE):
        return flat
    inner = indent + " "
    if isinstance(value, dict):
        rows = [f"{json.dumps(name)}: {laid_out(entry, inner)}" for name, entry in value.items()]
    else:
        rows = [laid_out(entry, inner) for entry in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    body = f",\n{inner}".join(rows)
    return f"{opening}\n{inner}{body}\n{indent}{closing}"


@lru_cache(maxsize=64)
def _fields(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType:  # X | None
        return None if value is None else _read(next(a for a in inner if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise BundleError(f"{where}: expected a list, found {_shown(value)}")
        return tuple(_read(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise BundleError(f"{where}: expected an object, found {_shown(value)}")
        return {name: _read(inner[1], item, f"{where}.{name}") for name, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return read_record(typing.cast(type, hint), value, where)
    if hint is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise BundleError(f"{where}: expected {hint.__name__}, found {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number here")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a field twice")
    return found


def _check_depth(text: str) -> None:
    depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            if depth > _DEEPEST:
                raise ValueError(f"nested deeper than {_DEEPEST}")
        elif character in "]}":
            depth -= 1
