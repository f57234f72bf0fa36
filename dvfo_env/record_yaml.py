"""How every data file is written: a schema record as YAML that a person can review, in one step.

Fields stand in the schema's order; absent and empty ones are left out; short lists stand on one line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from dvfo_env.schema import Record
from dvfo_env.whole_file import write_whole

SIGNIFICANT_DIGITS = 5
WIDTH = 110

RecordType = TypeVar("RecordType", bound=Record)


def record_yaml(record: Record, header: str = "") -> str:
    """A record as YAML text, after `header` (comment lines, each with its line break)."""
    return header + yaml.dump(
        _plain(record), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH
    )


def write_record(record: Record, path: Path | str, header: str = "") -> Path:
    """Write a record to a YAML file, making its folder; a torn write never replaces a good file.

    Raises:
        ConfigError: the file or its folder cannot be written.
    """
    return write_whole(path, record_yaml(record, header))


def rounded(record: RecordType) -> RecordType:
    """The record with every figure to five significant digits; clocks (fields ending in `mhz`) stay exact."""
    return type(record).model_validate(_rounded(record.model_dump()))


def _rounded(value: Any, exact: bool = False) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item, exact=str(key).endswith("mhz")) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item, exact) for item in value]
    if isinstance(value, float) and not exact:  # five digits would move a clock of 1236.75 MHz
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return value


def _plain(value: Any) -> Any:
    """Without absent fields, and without empty ones that may be left out."""
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        optional = {name for name, field in type(value).model_fields.items() if not field.is_required()}
        return {
            name: _plain(item)
            for name, item in fields.items()
            if item is not None and not (name in optional and item in ({}, (), ""))
        }
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class _Dumper(yaml.SafeDumper):
    """Safe YAML with plain lists, and name-and-shape pairs, on one line."""

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        flow = not any(isinstance(item, dict) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=flow)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        flow = isinstance(mapping, dict) and set(mapping) == {"name", "shape"}
        return super().represent_mapping(tag, mapping, flow_style=flow)

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out each time."""
        return True
