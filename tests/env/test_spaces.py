"""The Box view: every choice has a cell, and the two ends of the cut axis have wide ones."""

from __future__ import annotations

import numpy as np
import pytest

from dvfo_env.scenario import load_scenario
from dvfo_env.spaces import ActionView, box_edges
from dvfo_env.tables import compile_scenario


@pytest.mark.parametrize("part", ["cut", "mapping", "gpu_mhz"])
@pytest.mark.parametrize("size", [1, 2, 4, 5, 20, 97])
def test_cells_ascend_and_fill_the_axis(part: str, size: int) -> None:
    edges = box_edges(part, size)
    assert (np.diff(edges) > 0.0).all()
    assert (edges[0], edges[-1], len(edges)) == (-1.0, 1.0, size + 1)


def test_the_ends_of_a_long_cut_axis_take_a_quarter_each() -> None:
    widths = np.diff(box_edges("cut", 20))
    np.testing.assert_allclose(widths[[0, -1]], 0.5)
    np.testing.assert_allclose(widths[1:-1], 1.0 / 18.0)
    np.testing.assert_allclose(np.diff(box_edges("gpu_mhz", 13)), 2.0 / 13.0)


@pytest.mark.parametrize("continuous", [True, False])
def test_indices_come_back_from_the_agents_actions(continuous: bool) -> None:
    tables = compile_scenario(load_scenario("default"))
    view = ActionView(tables, continuous)
    indices = np.random.default_rng(0).integers(0, tables.sizes, size=(500, len(tables.sizes)))
    actions = view.from_indices(indices)
    assert view.space.contains(actions[0])
    np.testing.assert_array_equal(view.to_indices(actions), indices)


def test_the_corners_of_the_box_pick_the_first_and_last_choices() -> None:
    tables = compile_scenario(load_scenario("default"))
    view = ActionView(tables, continuous=True)
    corners = np.array([[-1.0], [1.0]], dtype=np.float32).repeat(len(view.free), axis=1)
    np.testing.assert_array_equal(view.to_indices(corners), [np.zeros(6), np.array(tables.sizes) - 1])
    np.testing.assert_array_equal(view.to_indices(7.0 * corners), view.to_indices(corners))
