"""Studies for tests: a toy scenario with a made-up score scale, small agents, trials written down by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dvfo_agents.result_cache import tables_digest
from dvfo_agents.run_folder import versions
from dvfo_agents.tune.settings import LAST_RUNG, Arena, Settings
from dvfo_agents.tune.spaces import as_plain, space_for
from dvfo_agents.tune.study import StudyFile
from dvfo_env.tables import compile_scenario
from tests.agents import small


def settings(folder: Path, **changes: Any) -> Settings:
    """Settings of a study of the small PPO on the toy scenario; best fixed action 0.5, bound 0.1."""
    scenario = small.scenario(folder)
    config = small.agent("ppo")
    data: dict[str, Any] = {
        "agent": "small-ppo",
        "config": config.model_dump(mode="json"),
        "arenas": (
            Arena(
                scenario=scenario,
                tables_sha256=tables_digest(compile_scenario(scenario)),
                fixed=0.5,
                bound=0.1,
            ),
        ),
        "seconds": 0.2,
        "sampler": "tpe",
        "pruner": "none",
        "seed": 0,
        "space": as_plain(space_for("ppo", config.model_dump())),
        "versions": versions(),
    }
    return Settings(**{**data, **changes})


def told(file: StudyFile, scores: list[float | None]) -> None:
    """Write down trials that ended with these scores; None: stopped early."""
    for score in scores:
        trial = file.next_trial()
        trial.set_user_attr("costs", {arena.scenario.name: 0.25 for arena in file.settings.arenas})
        trial.set_user_attr("steps", 1000)
        trial.set_user_attr("seconds", 0.2)
        if score is None:
            trial.report(0.0, 1)
            file.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.report(score, LAST_RUNG)
            file.study.tell(trial, score)
