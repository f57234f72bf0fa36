"""Search spaces: where configurations lie in them, and that every point makes one."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from dvfo_agents.config import list_agents, load_agent_config, parse_agent_config
from dvfo_agents.tune.spaces import (
    SPACES,
    OneOf,
    PowerOfTwo,
    Real,
    Whole,
    as_changes,
    as_params,
    as_plain,
    space_for,
)
from dvfo_agents.tune.study import _suggest
from dvfo_env.errors import ConfigError
from tests.agents import small

TUNED = [name for name in list_agents() if load_agent_config(name).algorithm in SPACES]


@pytest.mark.parametrize("agent", TUNED)
def test_a_shipped_configuration_lies_in_its_space_and_comes_back_from_it(agent: str) -> None:
    config = load_agent_config(agent).model_dump()
    space = space_for(config["algorithm"], config)
    assert {**config, **as_changes(space, as_params(space, config))} == config
    assert as_plain(space) == as_plain(SPACES[config["algorithm"]])  # nothing had to be widened


@pytest.mark.parametrize("agent", TUNED)
def test_every_point_of_a_space_is_a_configuration(agent: str) -> None:
    config = load_agent_config(agent)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        trial = study.ask()
        for name, span in SPACES[config.algorithm].items():
            _suggest(trial, name, span)
        changes = as_changes(SPACES[config.algorithm], trial.params)
        assert set(changes) == set(SPACES[config.algorithm])
        parse_agent_config({**config.model_dump(), **changes}, where="test")


def test_a_space_is_widened_to_hold_the_configuration_it_sets_out_from() -> None:
    config = small.agent("ppo", n_envs=12, net_arch=[7], gamma=1.0, ent_coef=0.0).model_dump()
    space = space_for("ppo", config)
    assert space["n_envs"] == OneOf((128, 256, 512, 1024, 12))
    assert space["net_arch"].choices[-1] == (7,)
    assert (space["gamma"].low, space["gamma"].high) == (0.0, 1.0)
    assert space["ent_coef"] == Real(0.0, 0.2)
    assert as_changes(space, as_params(space, config)) == {name: config[name] for name in space}


def test_powers_of_two_are_searched_by_their_exponent() -> None:
    space = {"n_envs": PowerOfTwo(64, 512), "n_epochs": Whole(2, 8), "net_arch": OneOf(((64, 64), (8,)))}
    assert as_params(space, {"n_envs": 256, "n_epochs": 3, "net_arch": [64, 64]}) == {
        "n_envs": 8,
        "n_epochs": 3,
        "net_arch": "64-64",
    }
    assert as_changes(space, {"n_envs": 6, "net_arch": "8"}) == {"n_envs": 64, "net_arch": (8,)}


def test_an_algorithm_without_a_space_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"algorithm 'nothing' has no search space; known: .*ppo"):
        space_for("nothing", {})


def test_ranges_are_in_order() -> None:
    for space in SPACES.values():
        for span in space.values():
            assert isinstance(span, OneOf) or span.low < span.high
            if isinstance(span, PowerOfTwo):
                assert np.log2([span.low, span.high]) == pytest.approx(
                    np.round(np.log2([span.low, span.high]))
                )
