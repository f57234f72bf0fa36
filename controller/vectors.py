"""The self-check of a bundle: recorded observations with the decisions of training time, replayed here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import PARTS, VECTORS, Bundle
from dvfo_controller.policies import DevicePolicy, LearningDevicePolicy
from dvfo_controller.records import parse_json, read_record
from dvfo_env.errors import BundleError

LEAST = 256


@dataclass(frozen=True)
class _File:
    begins: tuple[int, ...]
    observations: tuple[tuple[float, ...], ...]
    actions: tuple[tuple[int, ...], ...]
    costs: tuple[float, ...] | None


@dataclass(frozen=True)
class Vectors:
    """N recorded decisions, in the order they were taken.

    begins: where sessions begin; observations float32 [N, features]; actions int64 [N, 6]; costs float64 [N]
    of the requests for policies that learn from them, else None.
    """

    begins: frozenset[int]
    observations: NDArray[np.float32]
    actions: NDArray[np.int64]
    costs: NDArray[np.float64] | None


def read_vectors(bundle: Bundle) -> Vectors:
    """The recorded decisions of a bundle.

    Raises:
        BundleError: there are too few, or they do not fit the observation or the action.
    """
    where = str(bundle.path / VECTORS)
    file = read_record(_File, parse_json(bundle.file(VECTORS), where), where)
    count, features = len(file.observations), len(bundle.manifest.observation)
    if count < LEAST:
        raise BundleError(f"{where}: observations: {count} are recorded, at least {LEAST} are needed")
    if len(file.actions) != count or (file.costs is not None and len(file.costs) != count):
        raise BundleError(f"{where}: actions: {len(file.actions)} for {count} observations")
    if {len(row) for row in file.observations} != {features} or {len(row) for row in file.actions} != {
        len(PARTS)
    }:
        raise BundleError(f"{where}: a row does not have {features} features or {len(PARTS)} parts")
    if not file.begins or file.begins[0] != 0:
        raise BundleError(f"{where}: begins: the first session has to begin with the first observation")
    costs = None if file.costs is None else np.array(file.costs, dtype=np.float64)
    return Vectors(
        frozenset(file.begins),
        np.array(file.observations, dtype=np.float32),
        np.array(file.actions, dtype=np.int64),
        costs,
    )


def first_mismatch(bundle: Bundle, policy: DevicePolicy, vectors: Vectors | None = None) -> str | None:
    """The first recorded decision that `policy` takes otherwise, in words; None where there is none.

    Raises:
        BundleError: the recorded decisions cannot be read.
    """
    vectors = read_vectors(bundle) if vectors is None else vectors
    for i, (observation, expected) in enumerate(zip(vectors.observations, vectors.actions, strict=True)):
        if i in vectors.begins:
            policy.reset()
        found = policy.decide(observation)
        if not np.array_equal(found, expected):
            part = int(np.flatnonzero(found != expected)[0])
            return f"observation {i}: {PARTS[part]}: recorded {expected.tolist()}, decided {found.tolist()}"
        if vectors.costs is not None and isinstance(policy, LearningDevicePolicy):
            policy.learn(float(vectors.costs[i]))
    return None
