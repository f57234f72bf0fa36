"""What is searched, per algorithm: plain data. Fields not named here stay as in the configuration given.

A new algorithm adds one entry to `SPACES` under the name in its configuration's `algorithm` field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from dvfo_env.errors import ConfigError


class Real(NamedTuple):
    """A real number from `low` to `high`; `log`: drawn evenly on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


class Whole(NamedTuple):
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int


class PowerOfTwo(NamedTuple):
    """A power of two from `low` to `high`, both powers of two and included."""

    low: int
    high: int


class OneOf(NamedTuple):
    """One of several values without an order."""

    choices: tuple[Any, ...]


Range = Real | Whole | PowerOfTwo | OneOf
Space = Mapping[str, Range]

_LAYERS = OneOf(((64, 64), (128, 128), (64, 64, 64)))
_ACTIVATION = OneOf(("relu", "tanh"))

_SAC: Space = {
    "n_envs": PowerOfTwo(64, 512),
    "gradient_steps": Whole(1, 4),
    "batch_size": PowerOfTwo(256, 2048),
    "buffer_size": OneOf((100_000, 200_000, 400_000)),
    "learning_rate": Real(5e-4, 5e-3, log=True),
    "final_learning_rate_share": Real(0.02, 0.5, log=True),
    "gamma": Real(0.0, 0.6),
    "tau": Real(0.003, 0.05, log=True),
    "ent_coef": Real(0.05, 1.0, log=True),
    "final_ent_coef": Real(5e-4, 0.02, log=True),
    "cost_knee": Real(1.0, 10.0, log=True),
    "net_arch": _LAYERS,
    "activation": _ACTIVATION,
}
#: What our own off-policy learners share.
_REPLAY: Space = {
    "n_envs": PowerOfTwo(64, 512),
    "gradient_steps": Whole(1, 3),
    "batch_size": PowerOfTwo(128, 1024),
    "learning_rate": Real(5e-4, 5e-3, log=True),
    "final_learning_rate_share": Real(0.02, 0.5, log=True),
    "gamma": Real(0.0, 0.7),
    "tau": Real(0.005, 0.1, log=True),
    "cost_knee": Real(1.0, 10.0, log=True),
    "net_arch": _LAYERS,
    "activation": _ACTIVATION,
}

#: By algorithm, then by field of its configuration (`dvfo_agents.config` says what each means).
SPACES: dict[str, Space] = {
    "ppo": {
        "n_envs": PowerOfTwo(128, 1024),
        "n_steps": PowerOfTwo(8, 64),
        "batch_size": PowerOfTwo(1024, 8192),
        "n_epochs": Whole(2, 8),
        "learning_rate": Real(5e-4, 1e-2, log=True),
        "final_learning_rate_share": Real(0.02, 0.5, log=True),
        "gamma": Real(0.0, 0.9),
        "gae_lambda": Real(0.5, 1.0),
        "clip_range": Real(0.1, 0.4),
        "ent_coef": Real(0.005, 0.2, log=True),
        "final_ent_coef_share": Real(0.01, 0.5, log=True),
        "cost_knee": Real(2.0, 40.0, log=True),
        "net_arch": _LAYERS,
        "activation": _ACTIVATION,
    },
    "sac": _SAC,
    "tqc": {**_SAC, "n_quantiles": PowerOfTwo(8, 32), "top_quantiles_to_drop_per_net": Whole(0, 3)},
    "crossq": {
        **{name: span for name, span in _SAC.items() if name != "tau"},
        "policy_delay": Whole(1, 3),
    },
    "sac-discrete": {
        **_REPLAY,
        "ent_coef": Real(0.05, 3.0, log=True),
        "final_ent_coef": Real(1e-3, 0.02, log=True),
        "critic_rank": PowerOfTwo(4, 32),
    },
    "dqn": {
        **_REPLAY,
        "exploration_share": Real(0.1, 0.6),
        "epsilon": Real(0.2, 0.8),
        "epsilon_exponent": Real(1.0, 8.0),
        "branch_width": PowerOfTwo(16, 128),
    },
    "hindsight": {
        "n_envs": PowerOfTwo(64, 512),
        "batch_size": PowerOfTwo(256, 2048),
        "learning_rate": Real(1e-3, 1e-2, log=True),
        "gamma": Real(0.0, 0.97),
        "tau": Real(0.003, 0.05, log=True),
        "ent_coef": Real(0.01, 0.2, log=True),
        "final_ent_coef": Real(1e-4, 5e-3, log=True),
        "epsilon": Real(0.01, 0.2, log=True),
        "net_arch": _LAYERS,
        "history": OneOf((1, 4)),
    },
}


def space_for(algorithm: str, config: Mapping[str, Any]) -> dict[str, Range]:
    """The algorithm's space, widened where `config` lies outside of it: it is to be the first trial.

    Raises:
        ConfigError: the algorithm has no search space.
    """
    if algorithm not in SPACES:
        raise ConfigError(f"algorithm {algorithm!r} has no search space; known: {', '.join(sorted(SPACES))}")
    return {name: _widened(span, config[name]) for name, span in SPACES[algorithm].items()}


def _widened(span: Range, value: Any) -> Range:
    if isinstance(span, OneOf):
        value = _hashable(value)
        return span if value in span.choices else OneOf((*span.choices, value))
    if isinstance(span, PowerOfTwo) and value & (value - 1):  # some other number: it joins the powers of two
        powers = [2**k for k in range(span.low.bit_length() - 1, span.high.bit_length())]
        return OneOf((*powers, value))
    if isinstance(span, Real) and span.log and value <= 0.0:
        span = Real(span.low, span.high)
    return span._replace(low=min(span.low, value), high=max(span.high, value))


def label(value: Any) -> Any:
    """A choice as Optuna stores it: layers become text, `64-64`."""
    return "-".join(map(str, value)) if isinstance(value, tuple | list) else value


def as_params(space: Space, config: Mapping[str, Any]) -> dict[str, Any]:
    """The point of the space where `config` lies, as Optuna stores it: powers of two by their exponent."""
    return {
        name: round(math.log2(config[name])) if isinstance(span, PowerOfTwo) else label(config[name])
        for name, span in space.items()
    }


def as_changes(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a configuration from a point as Optuna stores it."""
    changes: dict[str, Any] = {}
    for name, value in params.items():
        span = space[name]
        if isinstance(span, PowerOfTwo):
            changes[name] = 2**value
        elif isinstance(span, OneOf):
            changes[name] = next(choice for choice in span.choices if label(choice) == value)
        else:
            changes[name] = value
    return changes


def as_plain(space: Space) -> dict[str, Any]:
    """The space as JSON values: what a study remembers, to notice that another release searches elsewhere."""
    return {
        name: [
            type(span).__name__,
            *([label(choice) for choice in span.choices] if isinstance(span, OneOf) else span),
        ]
        for name, span in space.items()
    }


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
