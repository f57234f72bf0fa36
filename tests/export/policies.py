"""Policies with random weights, of every algorithm, without training; and observations to compare them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from dvfo_agents.checkpoint import write_checkpoint
from dvfo_agents.config import AgentConfig
from dvfo_agents.decisions import decision
from dvfo_agents.learned import LearnedPolicy
from dvfo_agents.run_folder import RunConfig, RunFolder
from dvfo_agents.view import AgentView, agent_view
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables
from tests.agents import small

#: Name -> (algorithm, changes of the configuration): every algorithm, and what an agent may be told.
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {}) for kind in small.KINDS},
    "ppo-with-history": ("ppo", {"history": 3, "activation": "relu"}),
    "hindsight-with-history": ("hindsight", {"history": 4}),
    "sac-on-two-parts": ("sac", {"acts_on": ["cut", "compression"]}),
    "sac-d-style": ("sac-discrete", {"acts_on": ["cut", "compression"], "name": "sac-d-style"}),
    "dvfo-style": ("dqn", {"acts_on": ["cpu_mhz", "gpu_mhz"], "history": 2, "name": "dvfo-style"}),
    "dqn-tanh": ("dqn", {"activation": "tanh"}),
    "hindsight-on-mappings": ("hindsight", {"acts_on": ["mapping"]}),
}
SEQUENCES, LENGTH = 100, 100  # 10,000 observations


def random_policy(name: str, tables: CostTables, seed: int = 0) -> LearnedPolicy:
    """A policy with random weights under the names that its algorithm gives them."""
    algorithm, changes = AGENTS[name]
    config = small.agent(algorithm, **changes)
    view = agent_view(tables, config)
    weights = random_weights(config, view, np.random.default_rng(seed))
    decide = decision(config, weights, view.sizes.tolist(), config.history * OBSERVATION_SIZE)
    return LearnedPolicy(config.label, Path(name), tables.scenario, 1000, view, decide, config.history)


def random_run(folder: Path, name: str, tables: CostTables) -> Path:
    """A run folder with one checkpoint of random weights."""
    algorithm, changes = AGENTS[name]
    config = small.agent(algorithm, **changes)
    run = RunConfig(seed=0, steps=1000, minutes=None, agent=config, scenario=tables.scenario)
    weights = random_weights(config, agent_view(tables, config), np.random.default_rng(0))
    files = {
        "weights.safetensors": safetensors.numpy.save(weights),
        "counters.json": json.dumps({"action_sizes": tables.sizes}).encode(),
    }
    with RunFolder.create(folder, run) as made:
        write_checkpoint(made.checkpoints, 1000, files, {})
    return folder


def random_weights(
    config: AgentConfig, view: AgentView, rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    weights: dict[str, NDArray[np.float32]] = {}

    def linear(name: str, inputs: int, outputs: int) -> int:
        spread = 1.5 / np.sqrt(inputs)
        weights[f"{name}.weight"] = rng.normal(scale=spread, size=(outputs, inputs)).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(scale=0.3, size=outputs).astype(np.float32)
        return outputs

    def chain(names: list[str]) -> int:
        width = config.history * OBSERVATION_SIZE
        for layer, size in zip(names, config.net_arch, strict=True):
            width = linear(layer, width, size)
        return width

    def norm(name: str, size: int) -> None:
        for key in ("scale", "ra_var"):
            weights[f"{name}.{key}"] = rng.uniform(0.5, 2.0, size).astype(np.float32)
        for key in ("bias", "ra_mean"):
            weights[f"{name}.{key}"] = rng.normal(scale=0.2, size=size).astype(np.float32)

    hidden, parts, choices = len(config.net_arch), len(view.sizes), int(view.sizes.sum())
    match config.algorithm:
        case "ppo":
            linear("action_net", chain([f"mlp_extractor.policy_net.{2 * i}" for i in range(hidden)]), choices)
        case "sac" | "tqc":
            linear("actor.mu", chain([f"actor.latent_pi.{2 * i}" for i in range(hidden)]), parts)
        case "crossq":
            linear("actor.mu", chain([f"actor.latent_pi.{3 * i + 1}" for i in range(hidden)]), parts)
            for i, size in enumerate((config.history * OBSERVATION_SIZE, *config.net_arch)):
                norm(f"actor.latent_pi.{3 * i}", size)
        case "sac-discrete":
            linear("actor.heads", chain([f"actor.trunk.{2 * i}" for i in range(hidden)]), choices)
        case "hindsight":
            linear(f"actor.{2 * hidden}", chain([f"actor.{2 * i}" for i in range(hidden)]), config.candidates)
            weights["actions"] = rng.integers(0, view.sizes, size=(config.candidates, parts))  # type: ignore[assignment]
        case "dqn":
            width = chain([f"online.trunk.{2 * i}" for i in range(hidden)])
            for part, size in enumerate(view.sizes.tolist()):
                linear(f"online.branches.{part}.0", width, config.branch_width)
                linear(f"online.branches.{part}.2", config.branch_width, size)
    return weights


def observations(tables: CostTables) -> NDArray[np.float32]:
    """Float32 [LENGTH, SEQUENCES, features]: half from episodes with random actions, half random numbers."""
    rng = np.random.default_rng(1)
    devices = SEQUENCES // 2
    simulator = Simulator(tables, devices, bank_seed=5)
    seen = simulator.reset(np.arange(devices)).copy()
    frames = []
    for _ in range(LENGTH):
        noise = rng.uniform(-1.0, 1.0, size=(SEQUENCES - devices, OBSERVATION_SIZE)).astype(np.float32)
        frames.append(np.concatenate([seen, noise]))
        seen = simulator.step(rng.integers(0, tables.sizes, size=(devices, len(tables.sizes)))).observations
    return np.stack(frames)


def decided(policy: LearnedPolicy, frames: NDArray[np.float32]) -> NDArray[np.int64]:
    """What the training side decides, int64 [LENGTH, SEQUENCES, 6]."""
    policy.reset(frames.shape[1])
    return np.stack([policy.act(frame) for frame in frames])


def boundary(policy: LearnedPolicy, pairs: int = 150, halvings: int = 24) -> NDArray[np.float32]:
    """Observations float32 [N, features] ever closer to where one decision becomes another: there two scores
    are equal to a few digits. For policies without history.
    """
    rng = np.random.default_rng(3)
    ends = rng.uniform(-1.0, 1.0, size=(2, pairs, OBSERVATION_SIZE)).astype(np.float32)
    first = policy.act(ends[0])
    seen = []
    for _ in range(halvings):
        middle = (0.5 * (ends[0] + ends[1])).astype(np.float32)
        same = (policy.act(middle) == first).all(axis=1)
        ends[0][same], ends[1][~same] = middle[same], middle[~same]
        seen.append(middle)
    return np.concatenate(seen)
