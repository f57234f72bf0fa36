"""Small agents and runs for tests: a toy scenario, a few environments, seconds of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dvfo_agents.config import AgentConfig, parse_agent_config
from dvfo_env.scenario import Scenario
from tests import worlds

_COMMON: dict[str, Any] = {
    "minutes": 1.0,
    "learning_rate": 1e-3,
    "final_learning_rate_share": 0.1,
    "gamma": 0.8,
    "net_arch": [16, 16],
    "cost_knee": 2.0,
    "torch_threads": 1,
    "checkpoint_s": 0.1,
}
PPO = _COMMON | {
    "algorithm": "ppo",
    "n_envs": 8,
    "n_steps": 16,
    "batch_size": 64,
    "n_epochs": 2,
    "gae_lambda": 0.9,
    "clip_range": 0.2,
    "ent_coef": 0.01,
    "final_ent_coef_share": 0.1,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "activation": "tanh",
}
SAC = _COMMON | {
    "algorithm": "sac",
    "n_envs": 4,
    "batch_size": 32,
    "buffer_size": 1000,
    "learning_starts": 300,
    "tau": 0.01,
    "train_freq": 4,
    "gradient_steps": 1,
    "ent_coef": 0.1,
    "final_ent_coef": 0.01,
    "activation": "relu",
}
TQC = SAC | {"algorithm": "tqc", "n_quantiles": 5, "n_critics": 2, "top_quantiles_to_drop_per_net": 1}
CROSSQ = {name: value for name, value in SAC.items() if name != "tau"} | {
    "algorithm": "crossq",
    "policy_delay": 2,
    "renorm_warmup_steps": 20,
}
_REPLAY = _COMMON | {
    "n_envs": 4,
    "batch_size": 32,
    "buffer_size": 1000,
    "learning_starts": 300,
    "gradient_steps": 1,
    "tau": 0.05,
    "activation": "relu",
}
SAC_DISCRETE = _REPLAY | {
    "algorithm": "sac-discrete",
    "ent_coef": 0.1,
    "final_ent_coef": 0.01,
    "critic_rank": 4,
}
DQN = _REPLAY | {
    "algorithm": "dqn",
    "exploration_share": 0.5,
    "epsilon": 0.4,
    "epsilon_exponent": 7.0,
    "branch_width": 8,
}
HINDSIGHT = _COMMON | {
    "algorithm": "hindsight",
    "cost_knee": 100.0,  # it compares mean costs: none may look smaller than it is
    "n_envs": 4,
    "batch_size": 32,
    "buffer_size": 64,
    "candidates": 8,
    "value_arch": [8],
    "tau": 0.05,
    "ent_coef": 0.05,
    "final_ent_coef": 0.001,
    "epsilon": 0.05,
    "activation": "relu",
}
_ALL = {
    "ppo": PPO,
    "sac": SAC,
    "tqc": TQC,
    "crossq": CROSSQ,
    "sac-discrete": SAC_DISCRETE,
    "dqn": DQN,
    "hindsight": HINDSIGHT,
}
KINDS = tuple(_ALL)


def agent(kind: str, **changes: Any) -> AgentConfig:
    return parse_agent_config({**_ALL[kind], **changes}, where="test")


def agent_file(folder: Path, kind: str, **changes: Any) -> Path:
    path = folder / f"small-{kind}.yaml"
    path.write_text(yaml.safe_dump({**_ALL[kind], **changes}), encoding="utf-8")
    return path


def scenario(folder: Path, **changes: Any) -> Scenario:
    return worlds.scenario(folder, **changes)


def train_arguments(folder: Path, kind: str = "ppo", steps: int = 512, **changes: Any) -> list[str]:
    """Arguments of train.py for a small run in `folder`/run; writes scenario and agent file there."""
    worlds.scenario(folder)
    config = agent_file(folder, kind, **changes)
    return [
        "--agent",
        str(config),
        "--scenario",
        str(folder / "toy.yaml"),
        "--out",
        str(folder / "run"),
        "--steps",
        str(steps),
    ]
