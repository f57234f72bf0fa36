import numpy as np
import torch

from dvfo_agents.learners import build_learner
from dvfo_agents.learners.replay import ReplayLearner, Ring, Transitions
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.tables import CostTables
from tests.agents import small


def numbered(first: int, count: int) -> Transitions:
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return Transitions(numbers[:, None], numbers[:, None] + 1, numbers[:, None].long(), -numbers, 0 * numbers)


def test_the_ring_keeps_the_newest_and_keeps_columns_together() -> None:
    torch.manual_seed(0)
    ring = Ring(10, features=1, parts=1)
    for first in range(0, 28, 4):
        ring.add(numbered(first, 4))
        assert ring.filled == min(first + 4, 10)
    batch = ring.sample(1000)
    assert set(batch.rewards.tolist()) == {-float(i) for i in range(18, 28)}
    assert torch.equal(batch.observations[:, 0], -batch.rewards)
    assert torch.equal(batch.next_observations, batch.observations + 1)
    assert torch.equal(batch.actions[:, 0], batch.observations[:, 0].long())


def test_stored_transitions_follow_each_other_within_episodes(tables: CostTables) -> None:
    config = small.agent("dqn", history=2, buffer_size=256, learning_starts=10_000)
    learner = build_learner(config, tables, seed=0)
    assert isinstance(learner, ReplayLearner)
    learner.advance()
    stored = learner._ring.stored
    before = stored.observations.view(64, 4, 2, OBSERVATION_SIZE).numpy()
    after = stored.next_observations.view(64, 4, 2, OBSERVATION_SIZE).numpy()
    np.testing.assert_array_equal(after[:, :, 1], before[:, :, 0])  # the older frame is what was seen before
    joined = (after[:-1] == before[1:]).all(axis=(2, 3))
    assert not joined.all()
    begun = before[1:][~joined]
    np.testing.assert_array_equal(begun[:, 0], begun[:, 1])  # broken only where an episode begins
    assert (stored.discounts == config.gamma).all()  # and there by its length, not for good
