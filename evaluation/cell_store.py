"""Results of cells on disk: per-episode arrays in one file each, named by what went into them."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.result_cache import cache_folder
from dvfo_env.whole_file import whole_file
from dvfo_evaluation.runner import Episodes, Moments

_TOLD = "told"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a cell came to.

    `episodes` is None for the bound, which serves no requests; `cost_per_request` float64 [E] is there for
    all. `told` is plain data: who ran where, how long it took, what rebuilds it (`contest.Contest.run`).
    """

    cost_per_request: NDArray[np.float64]
    episodes: Episodes | None
    told: dict[str, Any]


def cells_folder() -> Path:
    """Where the files lie."""
    return cache_folder() / "cells"


def is_stored(key: str) -> bool:
    """Whether there is a result under `key`."""
    return _file(key).is_file()


def load_outcome(key: str) -> Outcome | None:
    """The result under `key`; None where there is none or it cannot be read (it is computed again)."""
    try:
        with _file(key).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        told = json.loads(str(arrays.pop(_TOLD)))
        return Outcome(arrays.pop("cost_per_request"), _episodes(arrays) if arrays else None, told)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def store_outcome(key: str, outcome: Outcome) -> None:
    """Write a result in one piece: it is there whole or not at all.

    Raises:
        ConfigError: the folder cannot be written.
    """
    arrays = {"cost_per_request": outcome.cost_per_request, _TOLD: np.array(json.dumps(outcome.told))}
    if outcome.episodes is not None:
        arrays |= _arrays(outcome.episodes)
    target = _file(key)
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as beside:
        np.savez_compressed(beside, allow_pickle=False, **arrays)


def _file(key: str) -> Path:
    return cells_folder() / f"{key}.npz"


def _arrays(episodes: Episodes) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for field in dataclasses.fields(Episodes):
        value = getattr(episodes, field.name)
        if field.name == "usage":
            arrays |= {f"usage.{part}": counts for part, counts in value.items()}
        elif field.name == "moments":
            arrays |= {f"moments.{name}": array for name, array in value._asdict().items()}
        else:
            arrays[field.name] = value
    return arrays


def _episodes(arrays: dict[str, NDArray[Any]]) -> Episodes:
    plain = {name: array for name, array in arrays.items() if "." not in name}
    return Episodes(
        **plain,
        usage={name[6:]: array for name, array in arrays.items() if name.startswith("usage.")},
        moments=Moments(**{name: arrays[f"moments.{name}"] for name in Moments._fields}),
    )
