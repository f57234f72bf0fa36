"""The folder of one training run: what was asked for, what it ran on, its checkpoints and its curves.

run.yaml        agent configuration, scenario, seed and budget, fully resolved; written once
provenance.json one entry per start: command, versions, git revision, machine, fingerprint of the cost tables
checkpoints/    see `checkpoint`
tensorboard/    event files
result.json     written when the budget is used up
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, Literal

import yaml
from pydantic import Field

import dvfo_env
from dvfo_agents.checkpoint import flush_folder, replace_file
from dvfo_agents.config import AgentConfig
from dvfo_env.errors import CheckpointError
from dvfo_env.scenario import Scenario
from dvfo_env.schema import Record, load_yaml
from dvfo_env.tables import CostTables

RUN_FILE = "run.yaml"
PROVENANCE_FILE = "provenance.json"
RESULT_FILE = "result.json"


class RunConfig(Record):
    """Everything that decides a run. The budget is `steps` (environment steps) or `minutes`; one is None."""

    format: Literal["dvfo-run-1"] = "dvfo-run-1"
    seed: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=1)] | None
    minutes: Annotated[float, Field(gt=0.0)] | None
    agent: AgentConfig
    scenario: Scenario


class RunFolder:
    """One run's folder, held by one process at a time; a context manager that lets go of it at the end.

    Attributes:
        path: the folder.
        config: what `run.yaml` says.
    """

    def __init__(self, path: Path, config: RunConfig, lock: IO[str]) -> None:
        self.path = path
        self.config = config
        self._lock = lock  # released also when the process is killed

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> RunFolder:
        """Begin a run in a new or empty folder.

        Raises:
            CheckpointError: the folder holds something already, or cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if (path / RUN_FILE).exists():
                raise CheckpointError(
                    f"{path}: holds a run already: continue it with --resume, or choose another --out"
                )
            others = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
            if others:
                raise CheckpointError(f"{path}: is not empty (holds {others[0]}): choose another --out")
            lock = _lock(path)
            text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
            replace_file(path / RUN_FILE, text.encode())
            flush_folder(path)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None
        return cls(path, config, lock)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Take up a run that was begun before.

        Raises:
            CheckpointError: the folder holds no run, or another process is training in it.
            ConfigError: `run.yaml` does not fit its schema.
        """
        config = read_run_config(path)
        try:
            return cls(path, config, _lock(path))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Where TensorBoard's event files lie."""
        return self.path / "tensorboard"

    def record_start(self, tables: CostTables, command: list[str]) -> None:
        """Add this start to `provenance.json`.

        Raises:
            CheckpointError: the cost tables are not those of the run's earlier starts (another device
                profile, uplink
                or release): what was learnt so far would not mean the same.
        """
        path = self.path / PROVENANCE_FILE
        try:
            starts: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        except (OSError, ValueError):
            raise CheckpointError(f"{path}: cannot be read as JSON") from None
        fingerprint = tables_fingerprint(tables)
        if starts and starts[0]["tables_sha256"] != fingerprint:
            raise CheckpointError(
                f"{self.path}: scenario {tables.scenario.name!r} now has other cost tables than at the start "
                f"(with dvfo-env {starts[0]['versions']['dvfo_env']}): begin a new run"
            )
        entry = {
            "command": shlex.join(command),
            "seed": self.config.seed,
            "versions": versions(),
            "git_revision": _git_revision(),
            "machine": {
                "cpu_cores": os.cpu_count(),
                "system": platform.platform(),
                "processor": platform.machine(),
            },
            "tables_sha256": fingerprint,
        }
        self._write(path, [*starts, entry])

    def write_result(self, result: dict[str, Any]) -> None:
        """Write `result.json`: the budget is used up.

        Raises:
            CheckpointError: it cannot be written.
        """
        self._write(self.path / RESULT_FILE, result)

    def _write(self, path: Path, data: Any) -> None:
        try:
            replace_file(path, (json.dumps(data, indent=1) + "\n").encode())
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None


def read_run_config(path: Path) -> RunConfig:
    """What `run.yaml` in the run folder `path` says.

    Raises:
        CheckpointError: there is no run in that folder.
        ConfigError: the file does not fit its schema.
    """
    if not (path / RUN_FILE).is_file():
        raise CheckpointError(f"{path}: holds no run (no {RUN_FILE})")
    return load_yaml(path / RUN_FILE, RunConfig)


def versions() -> dict[str, str]:
    """Versions of what a run depends on."""
    packages = ("numpy", "torch", "gymnasium", "stable_baselines3")
    found = {package: version(package) for package in packages}
    return {"dvfo_env": dvfo_env.__version__, "python": platform.python_version(), **found}


def tables_fingerprint(tables: CostTables) -> str:
    """sha256 over every number the step reads from a compiled scenario, the training bank included."""
    digest = hashlib.sha256()
    for array in (*tables.arrays, tables.bank(0)):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _lock(path: Path) -> IO[str]:
    lock = open(path / ".lock", "a")  # noqa: SIM115  held for as long as the run lasts
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise CheckpointError(f"{path}: another process is training in this folder") from None
    return lock


def _git_revision() -> str | None:
    """Revision of the checkout this runs from, `-dirty` where it has changes; None for an installed wheel."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    try:
        for ask in (
            ["ls-files", "--error-unmatch", here.name],
            ["describe", "--always", "--dirty", "--abbrev=40"],
        ):
            answer = subprocess.run(
                [*git, *ask], capture_output=True, text=True, timeout=10, check=True
            ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.strip() or None
