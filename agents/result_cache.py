"""Results of searches on disk: small JSON files keyed by what went into the search. Losing them costs only
time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import dvfo_controller
import dvfo_env
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.tables import CostTables


def cache_folder() -> Path:
    """Where results lie: `DVFO_CACHE` if set, else `dvfo_env` in the platform's cache folder."""
    if chosen := os.environ.get("DVFO_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "dvfo_env"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "dvfo_env"
    return Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "dvfo_env"


def tables_digest(tables: CostTables) -> str:
    """SHA-256 (hex) of everything the step reads: the arrays, the parameters, the choices and the training
    bank.
    """
    digest = hashlib.sha256()
    for array in (*tables.arrays, tables.bank(TRAINING_BANK_SEED)):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr(sorted(tables.choices.items())).encode())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 (hex) of the code that decides costs, so that results of older code are not taken for new
    ones.
    """
    core, here = Path(dvfo_env.__file__).parent, Path(__file__).parent
    shared = Path(dvfo_controller.__file__).parent / "policies"
    names = ("arrivals.py", "dynamics.py", "serving.py", "state.py", "observation.py", "simulator.py")
    digest = hashlib.sha256()
    files = [core / name for name in names]
    for file in (
        *files,
        *sorted((core / "oracle").glob("*.py")),
        *sorted((here / "baselines").glob("*.py")),
        *sorted((here / "planning").glob("*.py")),
        *sorted(shared.glob("*.py")),
    ):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def recall(kind: str, key: str) -> dict[str, Any] | None:
    """The result stored under (kind, key) by this code, or None where there is none or it cannot be read."""
    try:
        data = json.loads(_file(kind, key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def remember(kind: str, key: str, result: dict[str, Any]) -> None:
    """Store a result under (kind, key); a folder that cannot be written is not an error."""
    with contextlib.suppress(OSError):
        target = _file(kind, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(result, file)
        os.replace(temporary, target)


def _file(kind: str, key: str) -> Path:
    return cache_folder() / f"{kind}-{code_digest()[:8]}-{key[:48]}.json"
