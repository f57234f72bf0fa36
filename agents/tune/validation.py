"""The validation bank, a world that neither training nor evaluation uses, and what a policy costs in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.config import AgentConfig
from dvfo_agents.planning.tuning import mean_cost
from dvfo_agents.policy import Policy
from dvfo_env.tables import CostTables

#: Training uses bank 0, evaluation banks 1 to 4.
VALIDATION_BANK_SEED = 7_777
EPISODES = 128
_FIRST_EPISODE = 10_000_000


def episode_seeds() -> NDArray[np.int64]:
    """Seeds of the validation episodes, int64 [EPISODES]."""
    return _FIRST_EPISODE + np.arange(EPISODES, dtype=np.int64)


def validation_cost(policy: Policy, tables: CostTables) -> float:
    """Mean cost per request, dropped ones included, over the validation episodes."""
    return mean_cost(policy, tables, VALIDATION_BANK_SEED, episode_seeds())


def learner_cost(learner: object, config: AgentConfig, tables: CostTables, scratch: Path) -> float:
    """`validation_cost` of a learner in training, judged as every run is: saved, rebuilt from its checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be written below `scratch`.
    """
    from dvfo_agents.checkpoint import write_checkpoint
    from dvfo_agents.learned import load_policy
    from dvfo_agents.run_folder import RunConfig, RunFolder, versions
    from dvfo_agents.snapshot import capture

    run = RunConfig(seed=0, steps=None, minutes=1.0, agent=config, scenario=tables.scenario)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        with RunFolder.create(Path(folder) / "run", run) as saved:
            write_checkpoint(saved.checkpoints, 1, capture(learner, 0.0), versions())  # type: ignore[arg-type]
        return validation_cost(load_policy(saved.path, tables), tables)
