"""Who takes part: baselines by name and trained agents by run folder, each with what it takes to rebuild
it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from dvfo_agents.policy import Policy, SeesTrueState
from dvfo_agents.registry import baseline_names, make_baseline
from dvfo_env.errors import CheckpointError, ConfigError
from dvfo_env.scenario import Scenario
from dvfo_env.tables import CostTables

#: Always run: savings are counted from the first, the score from the second.
REFERENCES = ("performance", "best-fixed")


@dataclass(frozen=True)
class Origin:
    """Where a policy comes from: all it takes to rebuild it.

    kind is "baseline" or "learned"; source is a baseline's name or a run folder; checkpoint_sha256
    identifies the weights of a learned policy. `yardstick` is True for policies that see what no device
    can.
    """

    agent: str
    kind: str
    source: str
    checkpoint_sha256: str = ""
    yardstick: bool = False


@dataclass(frozen=True)
class Contestant:
    """A policy and where it comes from."""

    origin: Origin
    policy: Policy


def baseline(name: str, training: CostTables) -> Contestant:
    """The baseline `name`, tuned on the tables it is trained on.

    Raises:
        ConfigError: there is no baseline of that name.
    """
    policy = make_baseline(name, training)
    return Contestant(Origin(name, "baseline", name, yardstick=isinstance(policy, SeesTrueState)), policy)


def learned(run: Path | str, training: CostTables, trust_pickle: bool = False) -> Contestant:
    """The newest checkpoint of a run folder, to decide in the scenario of `training`.

    Raises:
        CheckpointError: no whole checkpoint, or a pickle that is not trusted.
        ConfigError: the run's action is not that of the scenario.
    """
    from dvfo_agents.learned import load_policy

    path = Path(run)
    policy = load_policy(path, training, trust_pickle)
    return Contestant(Origin(policy.name, "learned", str(path), checkpoint_sha256(path)), policy)


def trained_scenario(run: Path | str) -> Scenario:
    """The scenario a run folder was trained on.

    Raises:
        CheckpointError: the folder is no run; a stable-baselines3 file does not say its scenario.
    """
    from dvfo_agents.run_folder import read_run_config

    if Path(run).suffix == ".zip":
        raise CheckpointError(f"{run}: a .zip does not say what it was trained on; name a --scenario")
    return read_run_config(Path(run)).scenario


def checkpoint_sha256(run: Path | str) -> str:
    """SHA-256 (hex) of the manifest of the newest whole checkpoint of a run folder, or of a .zip file itself.

    Raises:
        CheckpointError: nothing whole has been saved there.
    """
    from dvfo_agents.checkpoint import MANIFEST, newest_saved

    path = Path(run)
    try:
        if path.suffix == ".zip":
            return hashlib.sha256(path.read_bytes()).hexdigest()
        checkpoint = newest_saved(path, lambda line: None)
        return hashlib.sha256((checkpoint.path / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_names(names: tuple[str, ...]) -> None:
    """Refuse names that are no baselines before anything expensive begins.

    Raises:
        ConfigError: names the first unknown one and the known ones.
    """
    for name in names:
        if name not in baseline_names():
            raise ConfigError(f"--agents: {name!r} is not a baseline; known: {', '.join(baseline_names())}")
