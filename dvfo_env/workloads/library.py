"""Finding and reading workload cards: the shipped ones by name, one's own by path."""

from __future__ import annotations

from functools import cache
from os import PathLike
from pathlib import Path

from dvfo_env.errors import ConfigError
from dvfo_env.schema import load_yaml
from dvfo_env.workloads.card import WorkloadCard

CARDS_DIR = Path(__file__).parent / "cards"
"""Where the shipped cards lie."""


def list_workloads() -> tuple[str, ...]:
    """Names of the shipped workloads, sorted."""
    return tuple(sorted(path.stem for path in CARDS_DIR.glob("*.yaml")))


def load_workload(name_or_path: str | PathLike[str]) -> WorkloadCard:
    """A shipped workload by name, or the card in a YAML file by path (anything ending in .yaml or .yml).

    Shipped cards are read once a process; a file is read anew each time.

    Raises:
        ConfigError: no shipped workload has this name (the message lists those there are), or the file is
        missing,
            is not YAML or does not fit `WorkloadCard`.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return load_yaml(path, WorkloadCard)
    return _shipped(str(name_or_path))


@cache
def _shipped(name: str) -> WorkloadCard:
    if name not in list_workloads():
        known = ", ".join(list_workloads())
        raise ConfigError(f"workload {name!r} is unknown; known are {known}, or a path to a .yaml file")
    return load_yaml(CARDS_DIR / f"{name}.yaml", WorkloadCard)
