"""A run that stops and goes on is the run that never stopped."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from dvfo_agents.checkpoint import Checkpoint
from dvfo_agents.learners import Learner, build_learner, training_env
from dvfo_agents.snapshot import capture, restore
from dvfo_env.errors import CheckpointError
from dvfo_env.tables import CostTables
from tests.agents import small


def advance(learner: Learner, times: int, start: int, total: int) -> None:
    for i in range(times):
        learner.progress_remaining = 1.0 - (start + i) / total
        learner.advance()


def saved(learner: Learner) -> Checkpoint:
    return Checkpoint(Path("memory"), learner.num_timesteps, capture(learner, seconds=1.5), {})


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *((kind, {}) for kind in small.KINDS),
        ("ppo", {"history": 3, "acts_on": ["cut", "compression"], "domain_randomisation": 0.2}),
        ("sac", {"history": 2, "domain_randomisation": 0.1}),
    ],
)
def test_a_resumed_run_ends_with_the_same_weights_bit_for_bit(
    tables: CostTables, kind: str, changes: dict[str, Any]
) -> None:
    config = small.agent(kind, **changes)
    straight = build_learner(config, tables, seed=3)
    advance(straight, 8, 0, 8)

    first = build_learner(config, tables, seed=3)
    advance(first, 4, 0, 8)
    halfway = saved(first)
    np.random.seed(99)  # noqa: NPY002
    torch.manual_seed(99)
    second = build_learner(config, tables, seed=3)
    assert restore(second, halfway) == 1.5
    advance(second, 4, 4, 8)

    assert second.num_timesteps == straight.num_timesteps
    assert capture(second, 0.0).keys() == capture(straight, 0.0).keys()
    for name, content in capture(straight, 0.0).items():
        assert capture(second, 0.0)[name] == content, name


@pytest.mark.parametrize("kind", small.KINDS)
def test_a_learner_saved_before_its_first_step_can_be_resumed(tables: CostTables, kind: str) -> None:
    first = build_learner(small.agent(kind), tables, seed=3)
    untrained = saved(first)
    advance(first, 2, 0, 2)
    expected = capture(first, 0.0)
    second = build_learner(small.agent(kind), tables, seed=3)
    torch.manual_seed(99)
    restore(second, untrained)
    advance(second, 2, 0, 2)
    assert capture(second, 0.0)["weights.safetensors"] == expected["weights.safetensors"]


def test_another_seed_trains_other_weights(tables: CostTables) -> None:
    weights = []
    for seed in (1, 2):
        learner = build_learner(small.agent("ppo"), tables, seed=seed)
        learner.advance()
        weights.append(capture(learner, 0.0)["weights.safetensors"])
    assert weights[0] != weights[1]


def test_a_checkpoint_of_another_network_is_refused(tables: CostTables) -> None:
    checkpoint = saved(build_learner(small.agent("ppo"), tables, seed=0))
    for changes in ({"net_arch": [8, 8]}, {"n_envs": 4}):
        other = build_learner(small.agent("ppo", **changes), tables, seed=0)
        with pytest.raises(CheckpointError, match="does not fit this run") as caught:
            restore(other, checkpoint)
        assert "\n" not in str(caught.value)


def test_nothing_in_a_checkpoint_is_a_pickle(tables: CostTables) -> None:
    files = saved(build_learner(small.agent("sac"), tables, seed=0)).files
    for name, content in files.items():
        match Path(name).suffix:
            case ".json":
                json.loads(content)
            case ".npy":
                np.load(io.BytesIO(content), allow_pickle=False)
            case ".safetensors":
                safetensors.numpy.load(content)
            case other:
                raise AssertionError(other)


def test_recent_costs_survive(tables: CostTables) -> None:
    first = build_learner(small.agent("ppo"), tables, seed=0)
    advance(first, 4, 0, 8)
    second = build_learner(small.agent("ppo"), tables, seed=0)
    restore(second, saved(first))
    assert training_env(second).mean_recent_cost() == training_env(first).mean_recent_cost()
