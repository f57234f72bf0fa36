from pathlib import Path

import pytest

from dvfo_agents.config import list_agents, load_agent_config
from dvfo_env.errors import ConfigError
from tests.agents import small


def test_shipped_agents_load_and_carry_their_name() -> None:
    assert {"ppo", "sac", "sac-discrete", "sac-d-style", "dvfo-style"} <= set(list_agents())
    for name in list_agents():
        assert load_agent_config(name).label == name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_step": 4}, "n_step: unknown key"),
        ({"gamma": 1.5}, "gamma"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"algorithm": "a2c"}, "algorithm: expected one of ppo, sac, "),
        ({"acts_on": ["cut", "screen"]}, "acts_on"),
        ({"history": 0}, "history"),
        ({"domain_randomisation": 1.0}, "domain_randomisation"),
        ({"n_envs": 0}, "n_envs"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_file(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    path = small.agent_file(tmp_path, "ppo", **changes)
    with pytest.raises(ConfigError) as caught:
        load_agent_config(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_agent_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'a2c'.*shipped: .*ppo, sac"):
        load_agent_config("a2c")
