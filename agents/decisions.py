"""What trained networks decide, computed by numpy alone: no torch, no stable-baselines3, no pickle.

One function for each algorithm rebuilds the decision from the weights of a checkpoint: the most probable (or
most valued) choice of every action part, or the middle of the distribution on the Box view. No randomness is
left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.config import AgentConfig

RENORM_EPS = 1e-3  # what sb3-contrib's CrossQ adds to variances
Weights = Mapping[str, NDArray[np.float32]]
#: Stacked observations float32 [N, features] to actions in the agent's view [N, free parts].
Decide = Callable[[NDArray[np.float32]], NDArray[Any]]


def decision(config: AgentConfig, weights: Weights, sizes: Sequence[int], features: int) -> Decide:
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
            names = [f"mlp_extractor.policy_net.{2 * i}" for i in range(hidden)]
            network = _network(weights, [*names, "action_net"], config.activation, features)
            return _largest_of_each(network, sizes)
        case "sac" | "tqc":
            names = [f"actor.latent_pi.{2 * i}" for i in range(hidden)]
            return _tanh(_network(weights, [*names, "actor.mu"], config.activation, features))
        case "crossq":
            norms, names = (
                [f"actor.latent_pi.{3 * i}" for i in range(hidden + 1)],
                [
                    *(f"actor.latent_pi.{3 * i + 1}" for i in range(hidden)),
                    "actor.mu",
                ],
            )
            folded = _without_norms(weights, norms, names)
            return _tanh(_network(folded, names, config.activation, features))
        case "sac-discrete":
            names = [f"actor.trunk.{2 * i}" for i in range(hidden)]
            network = _network(weights, [*names, "actor.heads"], config.activation, features)
            return _largest_of_each(network, sizes)
        case "hindsight":
            names = [*(f"actor.{2 * i}" for i in range(hidden + 1))]
            network = _network(weights, names, config.activation, features)
            actions = weights["actions"]
            return lambda stacked: actions[network(stacked).argmax(axis=1)]
        case "dqn":  # the state's value and the mean advantage are the same for every choice
            names = [f"online.trunk.{2 * i}" for i in range(hidden)]
            branches = [
                _network(
                    weights,
                    [*names, *(f"online.branches.{part}.{i}" for i in (0, 2))],
                    config.activation,
                    features,
                )
                for part in range(len(sizes))
            ]
            return lambda stacked: np.stack([branch(stacked).argmax(axis=1) for branch in branches], axis=1)


def _network(weights: Weights, names: list[str], activation: str, features: int) -> Decide:
    """A chain of linear layers with an activation after each but the last."""
    layers = [(np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]) for name in names]
    if layers[0][0].shape[0] != features:
        raise ValueError(f"expects {layers[0][0].shape[0]} features, observations have {features}")
    tanh = activation == "tanh"

    def forward(observations: NDArray[np.float32]) -> NDArray[np.float32]:
        values = observations
        for weight, bias in layers[:-1]:
            values = values @ weight
            values += bias
            np.tanh(values, out=values) if tanh else np.maximum(values, 0.0, out=values)
        return values @ layers[-1][0] + layers[-1][1]

    return forward


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


def _largest_of_each(network: Decide, sizes: Sequence[int]) -> Decide:
    edges = np.concatenate([[0], np.cumsum(sizes)])

    def decide(observations: NDArray[np.float32]) -> NDArray[np.int64]:
        scores = network(observations)
        heads = [scores[:, low:high].argmax(axis=1) for low, high in pairwise(edges)]
        return np.stack(heads, axis=1)

    return decide


def _tanh(network: Decide) -> Decide:
    return lambda observations: np.tanh(network(observations))
