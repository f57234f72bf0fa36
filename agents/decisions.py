"""What trained networks decide, computed by numpy alone: no torch, no stable-baselines3, no pickle.

One function for each algorithm rebuilds the decision from the weights of a checkpoint: the most probable (or
most valued) choice of every action part, or the middle of the distribution on the Box view. No randomness is
left.

Weights are float32 as trained, sums float64. A product of two float32 numbers is exact there, and the order
in which a matrix library adds them up, which differs between batch sizes, machines and runtimes, moves a
score in its sixteenth digit: too little to change which is largest. So a decision does not depend on who
computes it, and what is exported decides the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.config import AgentConfig

RENORM_EPS = 1e-3  # what sb3-contrib's CrossQ adds to variances
Weights = Mapping[str, NDArray[np.float32]]
#: Stacked observations float32 [N, features] to actions in the agent's view [N, free parts].
Decide = Callable[[NDArray[np.float32]], NDArray[Any]]


class Layer(NamedTuple):
    """A linear layer: weight float32 [inputs, outputs], bias float32 [outputs]."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """A chain of linear layers with an activation after each but the last."""

    layers: tuple[Layer, ...]
    activation: Literal["tanh", "relu"]

    @cached_property
    def _wide(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return [(weight.astype(np.float64), bias.astype(np.float64)) for weight, bias in self.layers]

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Outputs float64 [N, outputs] for values [N, inputs]."""
        passed = values.astype(np.float64)
        for i, (weight, bias) in enumerate(self._wide):
            if i and self.activation == "tanh":
                np.tanh(passed, out=passed)
            elif i:
                np.maximum(passed, 0.0, out=passed)
            passed = passed @ weight
            passed += bias
        return passed


@dataclass(frozen=True)
class LargestOfEach:
    """The choice with the largest score of each part; the scores of all parts lie side by side."""

    network: Network
    sizes: tuple[int, ...]

    def __call__(self, stacked: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions int64 [N, parts]."""
        scores = self.network(stacked)
        edges = np.concatenate([[0], np.cumsum(self.sizes)])
        return np.stack([scores[:, low:high].argmax(axis=1) for low, high in pairwise(edges)], axis=1)


@dataclass(frozen=True)
class LargestOfBranches:
    """The same where each part has a network of its own after a common trunk.

    `trunk` ends in an activation; `branches` hold (hidden layer, scores) of each part.
    """

    trunk: tuple[Layer, ...]
    branches: tuple[tuple[Layer, Layer], ...]
    activation: Literal["tanh", "relu"]

    @cached_property
    def _networks(self) -> list[Network]:
        return [Network((*self.trunk, *branch), self.activation) for branch in self.branches]

    def __call__(self, stacked: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions int64 [N, parts]."""
        return np.stack([network(stacked).argmax(axis=1) for network in self._networks], axis=1)


@dataclass(frozen=True)
class LargestOfList:
    """The joint action with the largest score of a list int64 [candidates, free parts]."""

    network: Network
    actions: NDArray[np.int64]

    def __call__(self, stacked: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions int64 [N, free parts]."""
        chosen: NDArray[np.int64] = self.actions[self.network(stacked).argmax(axis=1)]
        return chosen


@dataclass(frozen=True)
class Squashed:
    """Points of the Box view: the tanh of the network's outputs."""

    network: Network

    def __call__(self, stacked: NDArray[np.float32]) -> NDArray[np.float64]:
        """Points float64 [N, free parts] in [-1, 1]."""
        points: NDArray[np.float64] = np.tanh(self.network(stacked))
        return points


Decision = LargestOfEach | LargestOfBranches | LargestOfList | Squashed


def decision(config: AgentConfig, weights: Weights, sizes: Sequence[int], features: int) -> Decision:
    """The decision of the networks in `weights`.

    Args:
        config: the agent's configuration.
        weights: the learner's `policy.state_dict()` by name.
        sizes: number of choices of each part the agent decides on.
        features: length of a stacked observation.

    Raises:
        KeyError: a tensor is missing.
        ValueError: the network expects another observation.
    """
    hidden = len(config.net_arch)
    match config.algorithm:
        case "ppo":
            names = [*(f"mlp_extractor.policy_net.{2 * i}" for i in range(hidden)), "action_net"]
            return LargestOfEach(_network(config, weights, names, features), tuple(sizes))
        case "sac" | "tqc":
            names = [*(f"actor.latent_pi.{2 * i}" for i in range(hidden)), "actor.mu"]
            return Squashed(_network(config, weights, names, features))
        case "crossq":
            norms = [f"actor.latent_pi.{3 * i}" for i in range(hidden + 1)]
            names = [*(f"actor.latent_pi.{3 * i + 1}" for i in range(hidden)), "actor.mu"]
            return Squashed(_network(config, _without_norms(weights, norms, names), names, features))
        case "sac-discrete":
            names = [*(f"actor.trunk.{2 * i}" for i in range(hidden)), "actor.heads"]
            return LargestOfEach(_network(config, weights, names, features), tuple(sizes))
        case "hindsight":
            names = [f"actor.{2 * i}" for i in range(hidden + 1)]
            return LargestOfList(
                _network(config, weights, names, features), weights["actions"].astype(np.int64)
            )
        case "dqn":  # the state's value and the mean advantage are the same for every choice
            names = [f"online.trunk.{2 * i}" for i in range(hidden)]
            branches = tuple(
                (
                    _layer(weights, f"online.branches.{part}.0"),
                    _layer(weights, f"online.branches.{part}.2"),
                )
                for part in range(len(sizes))
            )
            trunk = _network(config, weights, names, features)
            return LargestOfBranches(trunk.layers, branches, config.activation)


def _layer(weights: Weights, name: str) -> Layer:
    return Layer(np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"])


def _network(config: AgentConfig, weights: Weights, names: list[str], features: int) -> Network:
    layers = tuple(_layer(weights, name) for name in names)
    if layers[0].weight.shape[0] != features:
        raise ValueError(f"expects {layers[0].weight.shape[0]} features, observations have {features}")
    return Network(layers, config.activation)


def _without_norms(weights: Weights, norms: list[str], names: list[str]) -> Weights:
    """The linear layers `names` with the batch renormalisation before each (`norms`) worked into them."""
    folded = {}
    for norm, name in zip(norms, names, strict=True):
        gain = weights[f"{norm}.scale"] / np.sqrt(weights[f"{norm}.ra_var"] + np.float32(RENORM_EPS))
        offset = weights[f"{norm}.bias"] - gain * weights[f"{norm}.ra_mean"]
        weight = weights[f"{name}.weight"]
        folded[f"{name}.weight"] = weight * gain
        folded[f"{name}.bias"] = weights[f"{name}.bias"] + weight @ offset
    return folded
