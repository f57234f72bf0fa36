"""A trained policy, rebuilt from a run folder by numpy alone: no stable-baselines3, no torch, no pickle."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from dvfo_agents.checkpoint import newest_saved
from dvfo_agents.decisions import Decide, decision
from dvfo_agents.history import History
from dvfo_agents.run_folder import read_run_config
from dvfo_agents.view import agent_view
from dvfo_env.errors import CheckpointError, ConfigError
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.scenario import Scenario
from dvfo_env.spaces import ActionView
from dvfo_env.tables import ACTION_PARTS, CostTables, compile_scenario

_WEIGHTS = "weights.safetensors"


class LearnedPolicy:
    """A trained policy behind `dvfo_agents.policy.Policy`.

    It remembers the observations of as many requests as it was trained to see (`history`), and nothing else.

    Attributes:
        name: the agent's name in tables, see `LearnerConfig.label`.
        run: the run folder (or file) it was loaded from.
        scenario: the scenario it was trained on; None where that is not known (a stable-baselines3 file).
        steps: environment steps it was trained for; None where that is not known.
        view: the parts it decides on; turns its actions into joint-action indices.
        decide: from stacked observations to its actions.
        history: how many observations are stacked.
    """

    def __init__(
        self,
        name: str,
        run: Path,
        scenario: Scenario | None,
        steps: int | None,
        view: ActionView,
        decide: Decide,
        history: int = 1,
    ) -> None:
        self.name = name
        self.run = run
        self.scenario = scenario
        self.steps = steps
        self.view = view
        self.decide = decide
        self.history = history
        self._seen = History(history)

    def reset(self, n: int) -> None:
        """Forget the observations of earlier requests."""
        self._seen.stacked = None

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        stacked = self._seen.push(np.asarray(observations, dtype=np.float32))
        return self.view.to_indices(self.decide(stacked))


def load_policy(
    run: Path | str, tables: CostTables | None = None, trust_pickle: bool = False
) -> LearnedPolicy:
    """Load the newest whole checkpoint of a run folder as a policy for `tables`.

    Args:
        run: a run folder; or a stable-baselines3 `.zip` file, which holds pickles.
        tables: the compiled scenario to decide in; None compiles the one the run was trained on.
        trust_pickle: allow the `.zip`, that is, allow the code inside it to run. Never needed for run
            folders.

    Raises:
        CheckpointError: there is no run or no whole checkpoint, or a `.zip` is not trusted.
        ConfigError: the run's action sizes are not those of `tables`; names the part.
    """
    path = Path(run)
    if path.suffix == ".zip":
        return _load_zip(path, tables, trust_pickle)
    config = read_run_config(path)
    checkpoint = newest_saved(path, lambda line: print(line, file=sys.stderr))
    tables = compile_scenario(config.scenario) if tables is None else tables
    agent = config.agent
    view = agent_view(tables, agent)
    try:
        weights = safetensors.numpy.load(checkpoint.files[_WEIGHTS])
        decide = decision(agent, weights, view.sizes.tolist(), agent.history * OBSERVATION_SIZE)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{checkpoint.path / _WEIGHTS}: holds no {agent.algorithm} policy: {error}"
        ) from None
    trained = json.loads(checkpoint.files["counters.json"])["action_sizes"]
    _check_sizes(path, trained, tables)
    return LearnedPolicy(agent.label, path, config.scenario, checkpoint.steps, view, decide, agent.history)


def _check_sizes(path: Path, trained: list[int], tables: CostTables) -> None:
    for part, size, legal in zip(ACTION_PARTS, trained, tables.sizes, strict=True):
        if size != legal:
            raise ConfigError(
                f"{path}: was trained with {size} choices of {part}, "
                f"scenario {tables.scenario.name!r} has {legal}: train on that scenario"
            )


def _load_zip(path: Path, tables: CostTables | None, trust_pickle: bool) -> LearnedPolicy:
    if not trust_pickle:
        raise CheckpointError(
            f"{path}: a stable-baselines3 file holds pickles, which run code: --trust-pickle allows it"
        )
    if tables is None:
        raise ConfigError(f"{path}: a stable-baselines3 file does not say its scenario: name one")
    try:
        print(
            f"{path}: trusting its pickles, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}",
            file=sys.stderr,
        )
        with zipfile.ZipFile(path) as archive:
            soft = "sac" in json.loads(archive.read("data"))["policy_class"]["__module__"]
        from stable_baselines3 import PPO, SAC

        model = (SAC if soft else PPO).load(path, device="cpu")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a pickle can fail in any way
        raise CheckpointError(f"{path}: is not a stable-baselines3 file of PPO or SAC: {error}") from None
    view = ActionView(tables, continuous=soft)
    if model.action_space != view.space:
        raise ConfigError(
            f"{path}: acts in {model.action_space}, scenario {tables.scenario.name!r} in {view.space}"
        )
    name = "sac" if soft else "ppo"
    return LearnedPolicy(
        name, path, None, model.num_timesteps, view, lambda o: model.predict(o, deterministic=True)[0]
    )
