"""The MultiDiscrete policy of stable-baselines3 with its heads computed together instead of one by one.

stable-baselines3 keeps one `Categorical` object per action part; with six parts their overhead is more than
half of PPO's time. Here all heads share a few tensor operations on the concatenated logits. Parameters,
distribution, log-probabilities and entropy are the same (a test says so); only the stream of random numbers
that sampling takes differs.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor


class FusedMultiCategorical(MultiCategoricalDistribution):
    """Independent categoricals over `action_dims`, from concatenated logits float32 [N, sum(action_dims)]."""

    def __init__(self, action_dims: list[int]) -> None:
        super().__init__(action_dims)
        sizes = torch.tensor(action_dims)
        self._first = sizes.cumsum(0) - sizes  # column where each head begins [heads]
        self._head_of = torch.repeat_interleave(torch.arange(len(action_dims)), sizes)  # head of each column
        self._members = torch.nn.functional.one_hot(
            self._head_of, len(action_dims)
        ).float()  # [columns, heads]

    def proba_distribution(self, action_logits: Tensor) -> FusedMultiCategorical:
        """Take the logits of a batch, float32 [N, sum(action_dims)]."""
        with (
            torch.no_grad()
        ):  # each head's largest logit, so that nothing overflows; cancels out of every result
            largest = torch.stack(
                [head.amax(1) for head in torch.split(action_logits, self.action_dims, 1)], dim=1
            )
        self._logits = action_logits - largest.index_select(1, self._head_of)
        self._weights = self._logits.exp()
        self._totals = self._weights @ self._members  # [N, heads]
        self._log_totals = self._totals.log()
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability [N] of actions [N, heads]."""
        chosen = self._logits.gather(1, actions.long() + self._first)
        return chosen.sum(dim=1) - self._log_totals.sum(dim=1)

    def entropy(self) -> Tensor:
        """Entropy [N] in nats."""
        mean_logits = ((self._weights * self._logits) @ self._members) / self._totals
        return (self._log_totals - mean_logits).sum(dim=1)

    def sample(self) -> Tensor:
        """Random actions int64 [N, heads], by the Gumbel-max rule."""
        noisy = self._logits - torch.empty_like(self._logits).exponential_().log_()
        return self._largest_of_each(noisy)

    def mode(self) -> Tensor:
        """Most probable actions int64 [N, heads]."""
        return self._largest_of_each(self._logits)

    def _largest_of_each(self, scores: Tensor) -> Tensor:
        return torch.stack([head.argmax(1) for head in torch.split(scores, self.action_dims, 1)], dim=1)


class FusedPolicy(ActorCriticPolicy):
    """stable-baselines3's actor-critic MLP policy on a MultiDiscrete space, with fused heads."""

    def _build(self, lr_schedule: Any) -> None:
        assert isinstance(self.action_space, spaces.MultiDiscrete)
        self.action_dist = FusedMultiCategorical([int(size) for size in self.action_space.nvec])
        super()._build(lr_schedule)
