"""The Box view: every choice has a cell; local and remote execution have wide ones, side by side."""

from __future__ import annotations

import numpy as np
import pytest

from dvfo_env.scenario import load_scenario
from dvfo_env.spaces import ActionView, box_edges, box_order
from dvfo_env.tables import compile_scenario


@pytest.mark.parametrize("part", ["cut", "mapping", "gpu_mhz"])
@pytest.mark.parametrize("size", [1, 2, 4, 5, 20, 97])
def test_cells_ascend_and_fill_the_axis(part: str, size: int) -> None:
    edges = box_edges(part, size)
    assert (np.diff(edges) > 0.0).all()
    assert (edges[0], edges[-1], len(edges)) == (-1.0, 1.0, size + 1)


def test_everything_here_and_everything_there_lie_side_by_side_with_a_quarter_each() -> None:
    widths = np.diff(box_edges("cut", 20))
    np.testing.assert_allclose(widths[-2:], 0.5)
    np.testing.assert_allclose(widths[:-2], 1.0 / 18.0)
    assert box_order("cut", 20).tolist() == [*range(1, 20), 0]
    assert box_order("gpu_mhz", 13).tolist() == [*range(13)]
    np.testing.assert_allclose(np.diff(box_edges("gpu_mhz", 13)), 2.0 / 13.0)


@pytest.mark.parametrize("continuous", [True, False])
def test_indices_come_back_from_the_agents_actions(continuous: bool) -> None:
    tables = compile_scenario(load_scenario("default"))
    view = ActionView(tables, continuous)
    indices = np.random.default_rng(0).integers(0, tables.sizes, size=(500, len(tables.sizes)))
    actions = view.from_indices(indices)
    assert view.space.contains(actions[0])
    np.testing.assert_array_equal(view.to_indices(actions), indices)


def test_the_corners_of_the_box_pick_the_ends_of_every_axis() -> None:
    tables = compile_scenario(load_scenario("default"))
    view = ActionView(tables, continuous=True)
    corners = np.array([[-1.0], [1.0]], dtype=np.float32).repeat(len(view.free), axis=1)
    lowest, highest = np.zeros(6), np.array(tables.sizes) - 1
    lowest[0], highest[0] = 1, 0
    np.testing.assert_array_equal(view.to_indices(corners), [lowest, highest])
    np.testing.assert_array_equal(view.to_indices(7.0 * corners), view.to_indices(corners))
