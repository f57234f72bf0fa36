import itertools

import pytest
import torch

from dvfo_agents.config import SACDiscreteConfig
from dvfo_agents.learners.sac_discrete import FactoredActor, ProductCritic, SACDiscreteLearner
from dvfo_agents.training_env import TrainingEnv
from dvfo_env.tables import CostTables
from tests.agents import small

SIZES = [4, 2, 3]
FEATURES = 5


@pytest.fixture
def config() -> SACDiscreteConfig:
    config = small.agent("sac-discrete")
    assert isinstance(config, SACDiscreteConfig)
    return config


def test_the_expected_value_is_the_mean_over_all_joint_actions(config: SACDiscreteConfig) -> None:
    torch.manual_seed(0)
    actor, critic = FactoredActor(FEATURES, SIZES, config), ProductCritic(FEATURES, SIZES, config)
    observations = torch.randn(7, FEATURES)
    probabilities = (actor(observations) * 50.0).exp()
    heads = [head / head.sum(1, keepdim=True) for head in torch.split(probabilities, SIZES, dim=1)]
    expected = torch.zeros(7)
    for action in itertools.product(*(range(size) for size in SIZES)):
        columns = torch.tensor(action) + torch.tensor([0, *SIZES[:-1]]).cumsum(0)
        share = torch.stack([head[:, i] for head, i in zip(heads, action, strict=True)]).prod(0)
        expected += share * critic.of_actions(observations, columns.expand(7, -1))
    torch.testing.assert_close(critic(observations, torch.cat(heads, dim=1)), expected)


def test_the_critic_tells_combinations_apart(config: SACDiscreteConfig) -> None:
    """Values that only the combination of two parts decides are learnt, which heads that add up cannot."""
    torch.manual_seed(0)
    critic = ProductCritic(FEATURES, [2, 2], config)
    observations = torch.zeros(4, FEATURES)
    columns = torch.tensor([[0, 2], [0, 3], [1, 2], [1, 3]])
    wanted = torch.tensor([1.0, -1.0, -1.0, 1.0])
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(500):
        loss = (critic.of_actions(observations, columns) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1e-3


def test_exploration_follows_the_policy_and_prediction_its_mode(
    tables: CostTables, config: SACDiscreteConfig
) -> None:
    torch.manual_seed(0)
    env = TrainingEnv(tables, 4, continuous=False, seed=0, cost_knee=2.0)
    learner = SACDiscreteLearner(config, env)
    with torch.no_grad():
        learner.actor.heads.bias += torch.randn(learner.actor.heads.bias.shape)
        observation = torch.zeros(1, learner.features)
        probabilities = learner.actor(observation).exp()
        actions = learner.explore(observation.expand(50_000, -1))
        best = learner.exploit(observation)
    for part, head in enumerate(torch.split(probabilities, learner.sizes, dim=1)):
        seen = torch.bincount(actions[:, part], minlength=learner.sizes[part]) / len(actions)
        torch.testing.assert_close(seen, head[0], rtol=0.0, atol=0.012)
        assert best[0, part] == head.argmax()
