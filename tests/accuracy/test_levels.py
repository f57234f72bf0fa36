"""From tables to levels: Pareto sets, thinning, repeats, and derived tables with their errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_env.accuracy import AccuracyTable, assumed_table, list_accuracy_tables, load_accuracy_table
from dvfo_env.accuracy.assumed import derive, leave_one_out
from dvfo_env.accuracy.levels import HOPELESS_POINTS, compression_levels
from dvfo_env.accuracy.pareto import charged_points
from dvfo_env.accuracy.table import Difficulty, Machine, columns_of
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import load_workload
from tests.accuracy.test_table import a_row

CARD = load_workload("mobilenet-v2")


def table_of(settings: dict[str, list[tuple[float, float]]], charges: str = "accuracy") -> AccuracyTable:
    """A table with (bytes, points lost) per cut."""
    rows = [
        a_row(
            cut=cut, codec=f"c{i}", bytes_mean=size, lost_points=lost,
            agreement=min(max(1.0 - lost / 100.0, 0.0), 1.0),
            lost_by_class=(2.0 * lost, 0.5 * lost), disagreed_by_class=(2.0 * lost, 0.5 * lost),
        )
        for cut, pairs in settings.items()
        for i, (size, lost) in enumerate(pairs)
    ]  # fmt: skip
    return AccuracyTable(
        name="by-hand", title="by hand", workload="mobilenet-v2", evidence="assumed", source="test",
        charges=charges, machine=Machine(cpu="toy", software="toy", reference_encode_ms=1.0),
        difficulty=Difficulty(edges=(0.8,), shares=(0.25, 0.75)), rows=columns_of(rows),
    )  # fmt: skip


def test_levels_are_the_settings_nobody_beats_most_bytes_first() -> None:
    pairs = [(100.0, 0.0), (50.0, 1.0), (60.0, 2.0), (20.0, 5.0), (20.0, 6.0), (5.0, 40.0)]
    levels = compression_levels(table_of({"features.3": pairs}), CARD, 8)
    assert levels.cuts == ("features.3",)
    assert levels.bytes.tolist() == [[100.0, 50.0, 20.0]]
    assert levels.lost_points[0, :, 0].tolist() == [0.0, 1.0, 5.0]


def test_what_loses_more_than_allowed_is_not_offered_and_neither_is_a_cut_with_nothing_else() -> None:
    table = table_of({"image": [(50.0, 3.0)], "features.3": [(9.0, 0.0), (5.0, 1.0), (2.0, 1.1)]})
    levels = compression_levels(table, CARD, 8, most_points_lost=1.0)
    assert levels.cuts == ("features.3",)
    assert levels.bytes.tolist() == [[9.0, 5.0]]
    with pytest.raises(ConfigError, match=r"loses at most 0\.5 points"):
        compression_levels(table_of({"image": [(50.0, 3.0)]}), CARD, 8, most_points_lost=0.5)


def test_a_cut_with_fewer_settings_repeats_its_last_one() -> None:
    levels = compression_levels(
        table_of({"features.3": [(9.0, 0.0), (4.0, 1.0)], "image": [(50.0, 0.0)]}), CARD, 8
    )
    assert levels.cuts == ("image", "features.3")
    assert levels.bytes.tolist() == [[50.0, 50.0], [9.0, 4.0]]


def test_thinning_keeps_both_ends_and_what_costs_most_to_miss() -> None:
    pairs = [(1000.0, 0.0), (990.0, 0.1), (500.0, 0.2), (100.0, 5.0), (50.0, 20.0)]
    levels = compression_levels(table_of({"features.3": pairs}), CARD, 4)
    assert levels.bytes.tolist() == [[1000.0, 500.0, 100.0, 50.0]]


def test_a_hopeless_cut_keeps_its_best_setting() -> None:
    levels = compression_levels(table_of({"features.3": [(9.0, 60.0), (4.0, 80.0)]}), CARD, 4)
    assert levels.lost_points[..., 0].tolist() == [[60.0]]
    assert levels.lost_points.max() > HOPELESS_POINTS


@pytest.mark.parametrize("charges", ["accuracy", "agreement"])
def test_classes_of_difficulty_are_charged_apart(charges: str) -> None:
    levels = compression_levels(table_of({"features.3": [(9.0, 4.0)]}, charges), CARD, 4, by_difficulty=True)
    assert levels.lost_points[0, 0].tolist() == [8.0, 2.0]
    assert levels.shares.tolist() == [0.25, 0.75]


def test_compression_that_happens_to_help_is_free() -> None:
    levels = compression_levels(table_of({"features.3": [(9.0, -0.5)]}), CARD, 4)
    assert levels.lost_points.min() == 0.0


def test_a_table_of_another_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="is of 'mobilenet-v2', not of 'vgg19'"):
        compression_levels(table_of({"features.3": [(9.0, 0.0)]}), load_workload("vgg19"), 4)


def test_shipped_tables_are_measured_and_fit_their_cards() -> None:
    names = list_accuracy_tables()
    assert {"mobilenet-v2", "efficientnet-lite0", "demo-mobilenet"} <= set(names)
    for name in names:
        table = load_accuracy_table(name)
        levels = compression_levels(table, load_workload(table.workload), 8, by_difficulty=True)
        assert table.evidence == "measured"
        assert levels.bytes.shape[1] <= 8
        assert (np.diff(levels.bytes, axis=1) <= 0.0).all()


def test_a_derived_table_is_labelled_and_reaches_every_cut() -> None:
    card = load_workload("vgg19")
    table = assumed_table(card)
    assert table.evidence == "assumed"
    assert all(c.evidence == "assumed" for c in table.coefficients().values())
    assert set(table.rows.cut) == {cut.name for cut in card.cuts[:-1]}
    lossless = [row for row in table.all_rows() if row.bits == 32]
    assert lossless
    assert all(charged_points(row, table.charges) < 1e-6 for row in lossless)


def test_deriving_needs_two_measured_networks() -> None:
    with pytest.raises(ConfigError, match="measured tables of 2 other networks"):
        derive(load_workload("vgg19"), [load_accuracy_table("mobilenet-v2")])


def test_leave_one_out_says_how_far_derived_tables_are_off() -> None:
    found = leave_one_out()
    assert {left.network for left in found} == {
        load_accuracy_table(name).workload for name in list_accuracy_tables()
    }
    page = (Path(__file__).parents[2] / "docs/scenarios.md").read_text(encoding="utf-8")
    for left in found:  # how well deriving works is no target: the page says what it is
        errors = f"{left.lost_points_error:.1f} | {left.bytes_error_percent:.0f}"
        assert f"| {left.network} | {left.settings} | {errors} |" in page
