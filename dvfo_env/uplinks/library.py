"""Finding uplinks by name or by file: the shipped models, a model file, or a trace file."""

from __future__ import annotations

from pathlib import Path

from dvfo_env.errors import ConfigError
from dvfo_env.schema import load_yaml
from dvfo_env.uplinks.interface import Uplink
from dvfo_env.uplinks.model import ModelUplink, UplinkModel
from dvfo_env.uplinks.trace_uplink import TraceUplink
from dvfo_env.uplinks.traces import load_trace

MODELS_DIR = Path(__file__).resolve().parent / "models"
COMPANION_MODEL = "lte-driving"
"""The model that lends round-trip times and radio power to a bare trace."""


def list_uplinks() -> tuple[str, ...]:
    """Names of the shipped models, sorted."""
    return tuple(sorted(path.stem for path in MODELS_DIR.glob("*.yaml")))


def load_model(name_or_path: str | Path) -> UplinkModel:
    """A shipped model by name, or a model file.

    Raises:
        ConfigError: unknown name (the message lists the known ones), or the file is missing or does not fit.
    """
    if str(name_or_path) in list_uplinks():
        return load_yaml(MODELS_DIR / f"{name_or_path}.yaml", UplinkModel)
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return load_yaml(path, UplinkModel)
    known = ", ".join(list_uplinks())
    raise ConfigError(
        f"uplink {str(name_or_path)!r}: no shipped model of that name and no such file; known: {known}"
    )


def load_uplink(
    name_or_path: str | Path, step_ms: float | None = None, companion: str | Path = COMPANION_MODEL
) -> Uplink:
    """A shipped model by name, a model file (.yaml), or a trace file (Mahimahi or time_s,mbps; also .gz).

    Args:
        name_or_path: what to load.
        step_ms: spacing of bank samples in ms; by default that of the model or the trace.
        companion: model that lends round-trip times and radio power to a trace file.

    Raises:
        ConfigError: unknown name (the message lists the known ones), missing file, or a model that
        does not fit. TraceError: the trace cannot be used; one line that names file and line.
    """
    path = Path(name_or_path)
    is_name = str(name_or_path) in list_uplinks()
    if is_name or path.suffix in (".yaml", ".yml") or not path.is_file():
        return ModelUplink(load_model(name_or_path), step_ms)
    return TraceUplink(path.name.split(".")[0], load_trace(path), load_model(companion), step_ms)
