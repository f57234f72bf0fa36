"""Deep Q-network with a branch for each part of the action: the learner of DVFO, as far as it is described.

DVFO (Zhang et al., IEEE Transactions on Mobile Computing 2024, arXiv 2306.01811) chooses clocks and the
share of the features to send with a deep Q-network that thinks while the device moves. It has no public
code, so this is DVFO-style:

* One value for each joint action is out of reach; the network branches (Tavakoli, Pardo and Kormushev,
  AAAI 2018, arXiv 1711.08946): a shared trunk, one state value V and one advantage head for each part, with
  Q[d](s, a) = V(s) + A[d](s, a) - mean over a of A[d](s, a), and double DQN. The value of a joint action is
  the mean of Q[d] over the branches, and that mean is what learns (Seyde et al., ICLR 2023, arXiv
  2210.12566). With a target for each branch, as Tavakoli has it, a branch takes what the others did for
  noise: 0.96 a request in place of 0.67 on tx2-vgg19-wifi-campus, 0.83 in place of 0.77 on the default
  scenario (0.8 million steps, one seed). Tavakoli's rescaling of the trunk's gradient is left out: Adam
  undoes it.
* Replay is uniform, exploration epsilon-greedy in every part: at first everything at random, then with an
  epsilon of its own in every environment (Horgan et al., ICLR 2018, arXiv 1803.00933). Where a random
  choice overflows the queue, one epsilon for all would show the learner nothing but full queues until it is
  nearly 0, and a branch learns what others do only while they explore.
* Thinking while moving (Xiao et al., ICLR 2020, arXiv 2004.06089): there the value depends on the state, the
  action still in force and the time t_AS that choosing takes, and the next value is discounted by
  gamma^(t_AS / H), H the interval between actions. Here a step is a request: H is the interval between two
  decisions, and the environment observes the previous action (`previous_*`) and t_AS / H
  (`decision_share`), so they are part of the state. Their reward is that of the time until the action
  switches, ours that of the whole request; the discount is theirs. It applies where decisions are
  concurrent; where they are free or block, a step is a step and counts gamma.
* DVFO's spatial and channel attention, which splits features into local and remote ones, is no part of the
  learner: it is in the accuracy tables, whose encoders keep the channels that attention ranks first.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvfo_agents.config import DQNConfig
from dvfo_agents.learners.base import ACTIVATIONS
from dvfo_agents.learners.replay import (
    ReplayLearner,
    Transitions,
    descend,
    follow,
    largest_of_each,
    trunk,
)
from dvfo_agents.training_env import TrainingEnv
from dvfo_env.observation import index_of

_GOLDEN_RATIO = (5.0**0.5 - 1.0) / 2.0


class BranchingNetwork(nn.Module):
    """Values float32 [B, sum(sizes)] of every choice of every part."""

    def __init__(self, features: int, sizes: list[int], config: DQNConfig) -> None:
        super().__init__()
        width, activation = config.net_arch[-1], ACTIVATIONS[config.activation]

        def branch(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(width, config.branch_width),
                activation(),
                nn.Linear(config.branch_width, outputs),
            )

        self.trunk = trunk(features, config)
        self.value = branch(1)
        self.branches = nn.ModuleList([branch(size) for size in sizes])

    def forward(self, observations: Tensor) -> Tensor:
        """V plus the centred advantages of each branch."""
        hidden = self.trunk(observations)
        advantages = [branch(hidden) for branch in self.branches]
        centred = [advantage - advantage.mean(1, keepdim=True) for advantage in advantages]
        values: Tensor = self.value(hidden) + torch.cat(centred, dim=1)
        return values


class DQNLearner(ReplayLearner):
    """See the file's docstring."""

    config: DQNConfig

    def __init__(self, config: DQNConfig, env: TrainingEnv) -> None:
        super().__init__(config, env)
        self.online = BranchingNetwork(self.features, self.sizes, config)
        self.target = BranchingNetwork(self.features, self.sizes, config)
        self.target.load_state_dict(self.online.state_dict())
        self.policy = nn.ModuleDict({"online": self.online, "target": self.target})
        self._optimiser = torch.optim.Adam(self.online.parameters(), fused=True)
        sizes = torch.tensor(self.sizes)
        self._sizes, self._first = sizes, sizes.cumsum(0) - sizes
        self._share = concurrent_share(env)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name, for checkpoints."""
        return {"online": self._optimiser}

    def explore(self, observations: Tensor) -> Tensor:
        """The best actions known, each part replaced by a random choice as often as `epsilons` says."""
        best = self.exploit(observations)
        anything = (torch.rand(best.shape) * self._sizes).long()
        return torch.where(torch.rand(best.shape) < self.epsilons(len(best))[:, None], anything, best)

    def epsilons(self, n: int) -> Tensor:
        """How often each of `n` environments chooses a part at random, float32 [n]: from 1 linearly to what
        `ladder` says, then constant.
        """
        share = min((1.0 - self.progress_remaining) / self.config.exploration_share, 1.0)
        return 1.0 + (ladder(n, self.config.epsilon, self.config.epsilon_exponent) - 1.0) * share

    def exploit(self, observations: Tensor) -> Tensor:
        """The most valued choice of every part."""
        return largest_of_each(self.online(observations), self.sizes)

    def discounts(self, next_observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """gamma, to the power of t_AS / H where decisions are concurrent [N]."""
        if self._share is None:
            return super().discounts(next_observations)
        shares: NDArray[np.float32] = next_observations[:, self._share]
        return np.power(np.float32(self.config.gamma), shares)

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """One step of the mean over the branches towards its target; the target network follows."""
        with torch.no_grad():
            best = self.exploit(batch.next_observations)
            following = self._value_of(self.target, batch.next_observations, best)
            wanted = batch.rewards + batch.discounts * following
        values = self._value_of(self.online, batch.observations, batch.actions)
        loss = (values - wanted).square().mean()
        descend(self._optimiser, loss)
        follow(self.target, self.online, self.config.tau)
        return {
            "train/loss": loss.detach(),
            "train/mean_value": values.detach().mean(),
        }

    def _value_of(self, network: BranchingNetwork, observations: Tensor, actions: Tensor) -> Tensor:
        """The mean of Q[d](s, a[d]) over the branches, float32 [B]."""
        values: Tensor = network(observations).gather(1, actions + self._first).mean(1)
        return values


@lru_cache(maxsize=8)
def ladder(n: int, largest: float, exponent: float) -> Tensor:
    """What the epsilons of `n` environments fall to, float32 [n].

    largest^(1 + exponent k / (n - 1)) for k = 0 ... n - 1, in the order of the golden ratio's multiples, so
    that neighbours, which may share a device (`fleet`), differ.
    """
    ranks = torch.argsort(torch.argsort(torch.arange(n, dtype=torch.float64) * _GOLDEN_RATIO % 1.0))
    return (largest ** (1.0 + exponent * ranks / max(n - 1, 1))).float()


def concurrent_share(env: TrainingEnv) -> int | None:
    """Column of t_AS / H in the newest observation where decisions are concurrent, else None."""
    concurrent = env.tables.scenario.decision.mode == "concurrent"
    return index_of("decision_share") if concurrent else None


def build(config: DQNConfig, env: TrainingEnv, seed: int) -> DQNLearner:
    """A fresh learner on `env`; torch has been seeded."""
    return DQNLearner(config, env)
