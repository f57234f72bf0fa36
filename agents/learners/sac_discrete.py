"""Soft actor-critic with one categorical head for each part of the action.

Discrete SAC (Christodoulou 2019, arXiv 1910.07207) takes expectations over the policy instead of samples, but
over one flat action; here joint actions are far too many for that. The policy is a product of categoricals
on one trunk. The critic has to tell combinations apart - what a compression level is worth depends on the
cut, what a clock is worth on both - so heads that add up will not do; and a network over one-hot parts would
need samples for the parts it does not enumerate. Ours is a sum of products,

    Q(s, a) = V(s) + sum over r of sign(r) prod over parts d of f[r, d](s, a[d]),

a low-rank tensor for every state (`critic_rank` terms). It can express any interaction given terms enough,
and its expectation under independent heads is exact and cheap: put the mean of f[r, d] under head d in the
place of f[r, d](s, a[d]). So neither the target nor the actor's gradient is sampled. Two critics, the smaller
expectation counts. The entropy weight falls geometrically over the run, as for SAC on the Box view.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from dvfo_agents.config import SACDiscreteConfig
from dvfo_agents.learners.base import geometric
from dvfo_agents.learners.replay import (
    ReplayLearner,
    Transitions,
    descend,
    follow,
    heads,
    largest_of_each,
    trunk,
)
from dvfo_agents.training_env import TrainingEnv


class FactoredActor(nn.Module):
    """Independent categoricals over `sizes` choices each: log-probabilities float32 [B, sum(sizes)]."""

    def __init__(self, features: int, sizes: list[int], config: SACDiscreteConfig) -> None:
        super().__init__()
        self.sizes = sizes
        self.trunk = trunk(features, config)
        self.heads = nn.Linear(config.net_arch[-1], sum(sizes))
        nn.init.zeros_(self.heads.bias)
        with torch.no_grad():
            self.heads.weight *= 0.01  # begins close to uniform

    def forward(self, observations: Tensor) -> Tensor:
        """Log-probabilities of every choice of every part."""
        logits: Tensor = self.heads(self.trunk(observations))
        return torch.cat([head.log_softmax(1) for head in heads(logits, self.sizes)], dim=1)


class ProductCritic(nn.Module):
    """Q as a sum of `critic_rank` products over the parts, see the file's docstring."""

    members: Tensor
    signs: Tensor

    def __init__(self, features: int, sizes: list[int], config: SACDiscreteConfig) -> None:
        super().__init__()
        rank, width = config.critic_rank, config.net_arch[-1]
        self.shape = (rank, sum(sizes))
        self.trunk = trunk(features, config)
        self.value = nn.Linear(width, 1)
        self.factors = nn.Linear(width, rank * sum(sizes))
        nn.init.ones_(self.factors.bias)
        head_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        members = torch.nn.functional.one_hot(head_of, len(sizes)).float()
        self.register_buffer("members", members, persistent=False)  # [sum(sizes), parts]
        signs = 1.0 - 2.0 * (torch.arange(rank) % 2)  # half of the terms are subtracted: Q begins near V
        self.register_buffer("signs", signs / rank**0.5, persistent=False)

    def forward(self, observations: Tensor, probabilities: Tensor) -> Tensor:
        """Mean of Q under independent heads, float32 [B].

        Args:
            observations: float32 [B, features].
            probabilities: float32 [B, sum(sizes)], of every choice of every part.
        """
        hidden, factors = self._factors(observations)
        return self._sum(hidden, (factors * probabilities[:, None, :]) @ self.members)

    def of_actions(self, observations: Tensor, columns: Tensor) -> Tensor:
        """Q float32 [B] of one action each; `columns` int64 [B, parts] are its choices' places among all."""
        hidden, factors = self._factors(observations)
        return self._sum(hidden, factors.gather(2, columns[:, None, :].expand(-1, self.shape[0], -1)))

    def _factors(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(observations)
        return hidden, self.factors(hidden).view(-1, *self.shape)

    def _sum(self, hidden: Tensor, factors: Tensor) -> Tensor:
        """V plus the signed products of factors [B, rank, parts]."""
        products = reduce(torch.mul, factors.unbind(2))
        values: Tensor = self.value(hidden)[:, 0] + products @ self.signs
        return values


class SACDiscreteLearner(ReplayLearner):
    """See the file's docstring."""

    config: SACDiscreteConfig

    def __init__(self, config: SACDiscreteConfig, env: TrainingEnv) -> None:
        super().__init__(config, env)
        arguments = (self.features, self.sizes, config)
        self.actor = FactoredActor(*arguments)
        self.critics = nn.ModuleList([ProductCritic(*arguments), ProductCritic(*arguments)])
        self.targets = nn.ModuleList([ProductCritic(*arguments), ProductCritic(*arguments)])
        self.targets.load_state_dict(self.critics.state_dict())
        self.policy = nn.ModuleDict({"actor": self.actor, "critics": self.critics, "targets": self.targets})
        self._actor_optimiser = torch.optim.Adam(self.actor.parameters(), fused=True)
        self._critic_optimiser = torch.optim.Adam(self.critics.parameters(), fused=True)
        sizes = torch.tensor(self.sizes)
        self._first = sizes.cumsum(0) - sizes

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by name, for checkpoints."""
        return {"actor": self._actor_optimiser, "critic": self._critic_optimiser}

    def _critics(self) -> list[ProductCritic]:
        return [critic for critic in self.critics if isinstance(critic, ProductCritic)]

    def explore(self, observations: Tensor) -> Tensor:
        """Draw from the policy, by the Gumbel-max rule."""
        scores: Tensor = self.actor(observations)
        return largest_of_each(scores - torch.empty_like(scores).exponential_().log_(), self.sizes)

    def exploit(self, observations: Tensor) -> Tensor:
        """The most probable choice of every part."""
        return largest_of_each(self.actor(observations), self.sizes)

    @property
    def ent_coef(self) -> float:
        """Weight of the entropy now."""
        return geometric(self.config.ent_coef, self.config.final_ent_coef, self.progress_remaining)

    def _soft_value(self, critics: nn.ModuleList, observations: Tensor) -> tuple[Tensor, Tensor]:
        """The policy's expected Q plus its weighted entropy, and that entropy, each [B]."""
        log_probabilities = self.actor(observations)
        probabilities = log_probabilities.exp()
        entropy = -(probabilities * log_probabilities).sum(1)
        first, second = (critic(observations, probabilities) for critic in critics)
        return torch.minimum(first, second) + self.ent_coef * entropy, entropy

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """One step of both critics, one of the actor; the target networks follow."""
        with torch.no_grad():
            following, _ = self._soft_value(self.targets, batch.next_observations)
            wanted = batch.rewards + batch.discounts * following
        taken = batch.actions + self._first
        errors = [critic.of_actions(batch.observations, taken) - wanted for critic in self._critics()]
        critic_loss = torch.stack([error.square().mean() for error in errors]).sum()
        descend(self._critic_optimiser, critic_loss)
        self.critics.requires_grad_(False)
        value, entropy = self._soft_value(self.critics, batch.observations)
        descend(self._actor_optimiser, -value.mean())
        self.critics.requires_grad_(True)
        follow(self.targets, self.critics, self.config.tau)
        return {
            "train/critic_loss": critic_loss.detach(),
            "train/entropy": entropy.detach().mean(),
            "train/ent_coef": torch.tensor(self.ent_coef),
        }


def build(config: SACDiscreteConfig, env: TrainingEnv, seed: int) -> SACDiscreteLearner:
    """A fresh learner on `env`; torch has been seeded."""
    return SACDiscreteLearner(config, env)
