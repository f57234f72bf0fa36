"""Fronts and hypervolumes: known values, and what holds for any points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvfo_evaluation.pareto import hypervolume, hypervolume_share, pareto_front

_POINTS = st.lists(
    st.tuples(st.floats(0.0, 10.0, allow_nan=False), st.floats(0.0, 10.0, allow_nan=False)),
    min_size=1,
    max_size=12,
).map(lambda points: np.array(points, dtype=np.float64))


def test_the_front_leaves_out_what_is_beaten() -> None:
    points = np.array([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [3.0, 3.0], [1.0, 3.0]])
    assert pareto_front(points).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[1.0, 1.0]], 9.0),
        ([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], 3.0 + 2.0 + 1.0),
        ([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [2.5, 2.5]], 6.0),
        ([[4.0, 0.0]], 0.0),  # on the edge: better in one only
        ([[5.0, 5.0]], 0.0),
        ([[0.0, 0.0], [2.0, 2.0]], 16.0),
    ],
)
def test_hypervolumes_of_known_fronts(points: list[list[float]], area: float) -> None:
    assert hypervolume(np.array(points), (4.0, 4.0)) == pytest.approx(area)


def test_the_share_is_of_the_rectangle_below_the_reference() -> None:
    assert hypervolume_share(np.array([[1.0, 5.0]]), (2.0, 10.0)) == pytest.approx(0.25)


@given(_POINTS)
def test_hypervolume_agrees_with_counting_squares(points: np.ndarray) -> None:
    whole = np.floor(points)
    cells = np.arange(10)
    x, y = np.meshgrid(cells, cells, indexing="ij")
    covered = ((whole[:, 0, None, None] <= x) & (whole[:, 1, None, None] <= y)).any(axis=0)
    assert hypervolume(whole, (10.0, 10.0)) == pytest.approx(float(covered.sum()))


@given(_POINTS, st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 10.0)))
def test_another_point_never_shrinks_the_hypervolume(
    points: np.ndarray, another: tuple[float, float]
) -> None:
    more = np.vstack([points, another])
    reference = (10.0, 10.0)
    assert hypervolume(more, reference) >= hypervolume(points, reference) - 1e-9
