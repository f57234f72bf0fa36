from __future__ import annotations

from pathlib import Path

import numpy as np

from dvfo_agents.baselines import all_local, compress_input, drldo_style
from dvfo_agents.planning.tiny_dqn import DqnPolicy, DqnSettings, train
from dvfo_agents.planning.tuning import training_cost
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, MEM, compile_scenario
from tests.baselines.steady import steady
from tests.worlds import device, scenario


def test_it_chooses_between_everything_local_and_the_whole_input_over_a_grid_of_clocks(
    tmp_path: Path,
) -> None:
    world = scenario(tmp_path, device(points=4), episode_requests=16, compression_levels=2)
    tables = compile_scenario(world)
    actions = drldo_style.joint_actions(tables)
    assert set(actions[:, CUT]) == {0, tables.sizes[CUT] - 1}
    assert len(np.unique(actions[actions[:, CUT] == 0, LEVEL])) == 1
    for part in (CPU, GPU, MEM):
        assert {1, 2, 3} <= set(actions[:, part].tolist())
    for constant in (all_local.make(tables), compress_input.make(tables)):
        assert (actions == constant.action).all(axis=1).any()


def test_it_learns_to_send_over_a_fast_link_and_to_stay_local_on_a_dead_one(tmp_path: Path) -> None:
    world = compile_scenario(scenario(tmp_path, device(points=1), episode_requests=16))
    settings = DqnSettings(steps=1600, gamma=0.0, checks=2)
    for mbps, cut in ((2000.0, 0), (0.01, world.sizes[CUT] - 1)):
        tables = steady(world, mbps, rtt_ms=2.0, factor=1.0)
        actions = drldo_style.joint_actions(tables)
        network = train(tables, actions, drldo_style.SEEN, settings)
        policy = DqnPolicy("", network, actions, drldo_style.SEEN)
        best = min(training_cost(m.make(tables), tables) for m in (all_local, compress_input))
        assert training_cost(policy, tables) <= best * 1.01
        observations = Simulator(tables, 4).reset(np.arange(4))
        assert (policy.act(observations)[:, CUT] == cut).all()
