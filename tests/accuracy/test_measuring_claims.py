"""What the shipped tables were measured to say."""

from __future__ import annotations

import pytest

from dvfo_env.accuracy import AccuracyTable, list_accuracy_tables, load_accuracy_table
from dvfo_env.accuracy.table import Row
from dvfo_env.workloads import load_workload

DEMOS = ("demo-vgg", "demo-resnet", "demo-mobilenet")
PHOTOGRAPHS = ("mobilenet-v2", "efficientnet-lite0")


def features(table: AccuracyTable) -> list[Row]:
    """Rows of the cuts between the input and what follows the last convolution."""
    card = load_workload(table.workload)
    inner = {
        cut.name for cut in card.cuts[2:-1] if len(cut.tensors[0].shape) == 3 and cut.tensors[0].shape[1] > 1
    }
    return [row for row in table.all_rows() if row.cut in inner]


@pytest.mark.parametrize("name", [*DEMOS, *PHOTOGRAPHS])
def test_a_shipped_table_is_measured_on_cuts_of_its_card(name: str) -> None:
    table = load_accuracy_table(name)
    assert table.evidence == "measured"
    assert set(table.rows.cut) <= set(load_workload(table.workload).cut_names)
    assert table.rows.cut[0] == load_workload(table.workload).cut_names[0]
    assert name in list_accuracy_tables()


@pytest.mark.parametrize("name", DEMOS)
def test_an_eighth_of_the_bytes_costs_at_most_one_point_on_all_test_images(name: str) -> None:
    table = load_accuracy_table(name)
    assert table.data is not None
    assert table.data.images == 10_000
    elements = {cut.name: cut.elements for cut in load_workload(name).cuts}
    assert any(r.lost_points <= 1.0 and 8 * r.bytes_mean <= 4 * elements[r.cut] for r in features(table))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_features_need_at_most_half_the_bytes_of_jpeg_and_webp_at_equal_agreement(name: str) -> None:
    table = load_accuracy_table(name)
    for image in (r for r in table.all_rows() if r.codec in ("jpeg-q95", "jpeg-q75", "webp-q90", "webp-q75")):
        assert any(
            r.agreement >= image.agreement and 2 * r.bytes_mean <= image.bytes_mean for r in features(table)
        )


@pytest.mark.parametrize("name", ["efficientnet-lite0", "demo-mobilenet"])
def test_attention_for_each_input_beats_magnitude_at_a_quarter_of_the_channels(name: str) -> None:
    table = load_accuracy_table(name)
    found = {
        (r.cut, r.ranking): r.agreement
        for r in features(table)
        if (r.keep, r.bits, r.coder) == (0.25, 8, "none")
    }
    cuts = {cut for cut, ranking in found if ranking == "attention-dynamic"}
    gains = [100 * (found[cut, "attention-dynamic"] - found[cut, "magnitude"]) for cut in cuts]
    assert sum(gains) / len(gains) > 10.0


def test_harder_images_lose_more() -> None:
    table = load_accuracy_table("demo-mobilenet")
    lossy = [r for r in features(table) if r.lost_points > 0.5]
    assert len(lossy) > 20
    assert sum(r.disagreed_by_class[0] > r.disagreed_by_class[-1] for r in lossy) > 0.95 * len(lossy)
