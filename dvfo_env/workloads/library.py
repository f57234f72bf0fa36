"""Finding and reading workload cards: shipped ones and one's own, by name or by path.

One's own are looked for in the folders of the environment variable `DVFO_WORKLOADS` (separated as in
`PATH`), then in `$XDG_DATA_HOME/dvfo/workloads` (`~/.local/share/dvfo/workloads` where that is not set). A
shipped name always means the shipped card.
"""

from __future__ import annotations

import os
from functools import cache
from os import PathLike
from pathlib import Path

from dvfo_env.errors import ConfigError
from dvfo_env.schema import load_yaml
from dvfo_env.user_data import user_data_folder
from dvfo_env.workloads.card import WorkloadCard

CARDS_DIR = Path(__file__).parent / "cards"
"""Where the shipped cards lie."""


def user_folder() -> Path:
    """Where one's own cards go if nothing else is asked for."""
    return user_data_folder() / "workloads"


def own_folders() -> tuple[Path, ...]:
    """Folders in which one's own cards are looked for by name, first match first."""
    named = os.environ.get("DVFO_WORKLOADS", "").split(os.pathsep)
    return (*(Path(folder) for folder in named if folder), user_folder())


def shipped_workloads() -> tuple[str, ...]:
    """Names of the shipped workloads, sorted."""
    return tuple(sorted(path.stem for path in CARDS_DIR.glob("*.yaml")))


def list_workloads() -> tuple[str, ...]:
    """Names of all workloads that load by name, shipped and one's own, sorted."""
    own = {path.stem for folder in own_folders() for path in folder.glob("*.yaml")}
    return tuple(sorted({*shipped_workloads(), *own}))


def load_workload(name_or_path: str | PathLike[str]) -> WorkloadCard:
    """A workload by name, or the card in a YAML file by path (anything ending in .yaml or .yml).

    Shipped cards are read once a process; other files are read anew each time.

    Raises:
        ConfigError: no workload has this name (the message lists those there are), or the file is missing, is
            not YAML or does not fit `WorkloadCard`.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return load_yaml(path, WorkloadCard)
    name = str(name_or_path)
    if name in shipped_workloads():
        return _shipped(name)
    for folder in own_folders():
        if (folder / f"{name}.yaml").is_file():
            return load_yaml(folder / f"{name}.yaml", WorkloadCard)
    known = ", ".join(list_workloads())
    raise ConfigError(f"workload {name!r} is unknown; known are {known}, or a path to a .yaml file")


@cache
def _shipped(name: str) -> WorkloadCard:
    return load_yaml(CARDS_DIR / f"{name}.yaml", WorkloadCard)
