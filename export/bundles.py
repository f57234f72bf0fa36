"""Writing a bundle: the policy's files, decisions recorded from real episodes, and the manifest over all of
it. What was written is read back and replayed before anybody is told it is there.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvfo_agents.policy import LearnsOnline, Policy
from dvfo_controller import bundle as b
from dvfo_controller.policies import open_policy
from dvfo_controller.vectors import first_mismatch
from dvfo_env.errors import BundleError, ConfigError
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CostTables
from dvfo_export.manifest import manifest_of

#: How many observations a bundle is checked with, at least.
LEAST_VECTORS = 256
#: First seed of the recorded episodes; training, tuning, validation and evaluation use others.
FIRST_SEED = 9_000_000
_LONGEST = 64  # requests of an episode


@dataclass(frozen=True)
class Exported:
    """A policy in the form a device reads.

    Attributes:
        kind: the module of `dvfo_controller.policies` that opens it.
        label: what tables call it.
        settings: plain JSON for that module.
        files: name -> content: ONNX and JSON.
        policy: the training side's policy, whose decisions are recorded.
        steps: how long it was trained; None where it was not.
    """

    kind: str
    label: str
    settings: dict[str, Any]
    files: dict[str, bytes]
    policy: Policy
    steps: int | None = None


def write_bundle(out: Path | str, tables: CostTables, exported: Exported) -> b.Bundle:
    """Write a bundle to the folder `out`, wholly or not at all; a bundle that is there is replaced.

    Raises:
        ConfigError: the folder cannot be written, or holds something else.
        BundleError: the exported policy does not decide as the one it was made from.
    """
    folder = Path(out)
    _refuse_foreign(folder)
    files = exported.files | {b.VECTORS: record_vectors(exported.policy, tables)}
    entry = b.PolicyEntry(exported.kind, exported.label, exported.steps, exported.settings)
    files[b.MANIFEST] = b.manifest_bytes(manifest_of(tables, entry, files))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".new-{folder.name}-", dir=folder.parent))
        try:
            for name, data in files.items():
                (fresh / name).write_bytes(data)
            _check(fresh)
            fresh.chmod(0o755)
            before = fresh.with_name(f"{fresh.name}-before")
            if folder.exists():
                os.replace(folder, before)
            os.replace(fresh, folder)
            shutil.rmtree(before, ignore_errors=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror or error}") from None
    return b.read_bundle(folder)


def record_vectors(policy: Policy, tables: CostTables, at_least: int = LEAST_VECTORS) -> bytes:
    """`vectors.json`: observations of real episodes on the training bank and what `policy` decided.

    One device at a time, episodes of at most 64 requests. For a policy that learns online the cost of each
    request is recorded too.
    """
    online = policy if isinstance(policy, LearnsOnline) else None
    observations: list[list[float]] = []
    actions: list[list[int]] = []
    costs: list[float] = []
    begins: list[int] = []
    simulator = Simulator(tables, 1, bank_seed=TRAINING_BANK_SEED, autoreset=False)
    while len(observations) < at_least:
        seen = simulator.reset(np.array([FIRST_SEED + len(begins)]))
        policy.reset(1)
        begins.append(len(observations))
        for _ in range(_LONGEST):
            action = policy.act(seen)
            observations.append([float(value) for value in seen[0]])
            actions.append([int(index) for index in action[0]])
            batch = simulator.step(action)
            if online is not None:
                cost = -batch.rewards.astype(np.float64)
                costs.append(float(cost[0]))
                online.learn(cost)
            if batch.ends[0]:
                break
            seen = batch.observations
    data = {"begins": begins, "observations": observations, "actions": actions, "costs": costs or None}
    return (json.dumps(data, allow_nan=False) + "\n").encode()


def _check(folder: Path) -> None:
    bundle = b.read_bundle(folder)
    mismatch = first_mismatch(bundle, open_policy(bundle))
    if mismatch is not None:
        raise BundleError(f"{bundle.name}: the exported policy decides otherwise: {mismatch}")


def _refuse_foreign(folder: Path) -> None:
    """Only an empty folder or a whole bundle, with nothing beside its files, is replaced."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder}: is not a folder")
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if not names:
        return
    try:
        own = {b.MANIFEST, *b.read_bundle(folder).files}
    except BundleError:
        own = set()
    if foreign := sorted(names - own):
        raise ConfigError(f"{folder}: holds {foreign[0]}, which is of no bundle: name another folder")
