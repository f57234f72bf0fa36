"""Writing a model as YAML a person can review: one matrix row a line, keys in the order of the schema."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from dvfo_env.uplinks.model import UplinkModel


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line, everything else in block style."""


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    plain = all(isinstance(item, (int, float)) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=plain)


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    text = f"{value:.7g}"
    if "e" in text and "." not in text.split("e")[0]:
        text = text.replace("e", ".0e")
    if all(mark not in text for mark in ".e"):
        text += ".0" if abs(value) >= 1 or value == 0 else ""
    if text == "0.0":
        text = "0"
        return dumper.represent_scalar("tag:yaml.org,2002:int", text)
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(float, _represent_float)


def model_text(model: UplinkModel) -> str:
    """The file content for `model`; `dvfo_env.uplinks.load_model` reads it back to an equal model."""
    data = model.model_dump(mode="json", exclude_none=True)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100_000, allow_unicode=True)


def write_model(model: UplinkModel, path: Path | str) -> None:
    """Write `model` to `path` in one step: a torn write never replaces a good file.

    Raises:
        OSError: the folder is missing or not writable.
    """
    target = Path(path)
    temporary = target.with_name(target.name + ".tmp")
    temporary.write_text(model_text(model), encoding="utf-8")
    os.replace(temporary, target)
