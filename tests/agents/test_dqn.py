from pathlib import Path

import numpy as np
import pytest
import torch

from dvfo_agents.config import DQNConfig
from dvfo_agents.learners.dqn import BranchingNetwork, DQNLearner, ladder
from dvfo_agents.training_env import TrainingEnv
from dvfo_env.observation import index_of
from dvfo_env.tables import CostTables, compile_scenario
from tests.agents import small


@pytest.fixture
def learner(tables: CostTables) -> DQNLearner:
    config = small.agent("dqn")
    assert isinstance(config, DQNConfig)
    torch.manual_seed(0)
    env = TrainingEnv(tables, 4, continuous=False, seed=0, cost_knee=2.0)
    return DQNLearner(config, env)


def test_every_branch_has_the_value_of_the_state_as_its_mean(learner: DQNLearner) -> None:
    network: BranchingNetwork = learner.online
    observations = torch.randn(9, learner.features)
    value = network.value(network.trunk(observations))[:, 0]
    for branch in torch.split(network(observations), learner.sizes, dim=1):
        torch.testing.assert_close(branch.mean(1), value, rtol=1e-4, atol=1e-5)


def test_exploration_begins_uniform_and_ends_with_an_epsilon_of_its_own_everywhere(
    learner: DQNLearner,
) -> None:
    ends = ladder(4, 0.4, 7.0)
    assert sorted(ends.tolist()) == pytest.approx(sorted(0.4 ** (1.0 + 7.0 * k / 3.0) for k in range(4)))
    observations = torch.zeros(4, learner.features)
    best = learner.exploit(observations)
    for progress_remaining, fallen in ((1.0, 0.0), (0.75, 0.5), (0.5, 1.0), (0.0, 1.0)):
        learner.progress_remaining = progress_remaining
        often = learner.epsilons(4)
        torch.testing.assert_close(often, 1.0 + fallen * (ends - 1.0))
        other = torch.stack([learner.explore(observations) != best for _ in range(4000)]).float().mean(0)
        expected = often[:, None] * (1.0 - 1.0 / torch.tensor(learner.sizes, dtype=torch.float32))
        torch.testing.assert_close(other, expected, rtol=0.0, atol=0.03)


def test_neighbours_explore_to_different_degrees() -> None:
    groups = ladder(256, 0.4, 7.0).log().reshape(8, 32).mean(1)
    assert (groups.max() - groups.min()).item() < 0.5


def test_values_approach_the_rewards_of_the_best_choices(learner: DQNLearner) -> None:
    """One state, gamma 0, rewards that add up over the parts: every branch finds its best choice."""
    rng = torch.Generator().manual_seed(1)
    sizes = torch.tensor(learner.sizes)
    wanted = [torch.linspace(-1.0, 0.0, size) for size in learner.sizes]
    for group in learner.optimisers()["online"].param_groups:
        group["lr"] = 3e-3
    for _ in range(600):
        actions = (torch.rand(64, len(sizes), generator=rng) * sizes).long()
        rewards = torch.stack([values[actions[:, part]] for part, values in enumerate(wanted)]).sum(0)
        observations = torch.zeros(64, learner.features)
        batch = (observations, observations, actions, rewards, torch.zeros(64))
        learner.update(type(learner._ring.stored)(*batch))
    assert learner.exploit(torch.zeros(1, learner.features))[0].tolist() == [
        size - 1 for size in learner.sizes
    ]


def test_free_decisions_count_gamma(learner: DQNLearner) -> None:
    observations = np.zeros((3, learner.features), dtype=np.float32)
    np.testing.assert_allclose(learner.discounts(observations), learner.config.gamma)


def test_concurrent_decisions_count_gamma_to_the_share_of_the_interval(tmp_path: Path) -> None:
    config = small.agent("dqn", history=2, gamma=0.5)
    assert isinstance(config, DQNConfig)
    deciding = {"mode": "concurrent", "latency_ms": 5.0}
    tables = compile_scenario(small.scenario(tmp_path, decision=deciding))
    env = TrainingEnv(tables, 4, continuous=False, seed=0, cost_knee=2.0, history=2)
    learner = DQNLearner(config, env)
    observations = np.zeros((3, learner.features), dtype=np.float32)
    observations[:, index_of("decision_share")] = [0.0, 0.25, 1.0]
    np.testing.assert_allclose(learner.discounts(observations), [1.0, 0.5**0.25, 0.5])
    learner.advance()
    discounts = learner._ring.stored.discounts[: learner._ring.filled]
    assert ((discounts > 0.5) & (discounts < 1.0)).float().mean() > 0.9
