"""Tables of layers and of copies: profiles that sum to the tables, hand-overs that cost what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_env.calibration.own.board import Board
from dvfo_env.calibration.own.choices import Choices
from dvfo_env.calibration.own.layer_tables import calibrate_layers, read_copies, read_layers
from dvfo_env.devices import DeviceModel
from dvfo_env.devices.profile import LayerTable, SegmentTable
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.workloads import load_workload
from tests.measurements import measurements_dir

CARD = "vgg19"


def layers() -> list[str]:
    """Names of the card's layers."""
    return [layer for segment in load_workload(CARD).segments for layer in segment.layers]


def layer_csv(folder: Path) -> Path:
    """Every layer of the card on four big cores (1 ms each) and on the GPU (0.25 ms each)."""
    rows = [f"{layer},big,4,1.0\n{layer},gpu,1,0.25\n" for layer in layers()]
    file = folder / "layers.csv"
    file.write_text(f"layer,mapping,cores,ms\n{''.join(rows)}")
    return file


def copy_csv(folder: Path) -> Path:
    """0.5 ms + 0.2 ms/MB one way, twice that the other."""
    rows = [f"cpu,gpu,{mb},{0.5 + 0.2 * mb}\ngpu,cpu,{mb},{1.0 + 0.4 * mb}\n" for mb in (0.5, 1.0, 2.0, 8.0)]
    file = folder / "copies.csv"
    file.write_text(f"from,to,megabytes,ms\n{''.join(rows)}")
    return file


def test_a_table_of_all_layers_is_kept_layer_by_layer(tmp_path: Path) -> None:
    table, copies = read_layers(layer_csv(tmp_path)), read_copies(copy_csv(tmp_path))
    profile, report = calibrate_layers({CARD: table}, Choices("my-phone"), copies)
    law = profile.latency[CARD]["big"]
    assert isinstance(law, LayerTable)
    assert law.evidence == "measured"
    assert "layers.csv" in law.source
    assert [row["sum_ms"] for row in report[:2]] == [len(layers()), 0.25 * len(layers())]
    cost = profile.copies["cpu>gpu"]
    assert (cost.base_ms.value, cost.ms_per_mb.value) == pytest.approx((0.5, 0.2), rel=1e-3)
    model = DeviceModel(profile, load_workload(CARD))
    middle = next(s.layers[0] for s in load_workload(CARD).segments[3:])
    both = model.head_latency_ms(f"big>gpu@{middle}", 0.0, 0.0, 0.0)[-1, 0, 0, 0]
    assert 0.25 * len(layers()) < both < len(layers())
    assert profile.power is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("layer,mapping,cores\nconv1,big,4\n", "line 1: expected the columns layer, mapping, cores, ms"),
        ("layer,mapping,cores,ms\n", "no rows"),
        ("layer,mapping,cores,ms\nconv1,big,4,x\n", "line 2: time 'x': not a number"),
        ("layer,mapping,cores,ms\nconv1,big,0,1\n", "line 2: cores '0'"),
        ("layer,mapping,cores,ms\nconv1,big,4,\n", "line 2: expected 4 filled cells"),
        ("layer,mapping,cores,ms\nconv1,big,4,1\nconv1,big,4,2\n", "layer 'conv1' is there twice on big"),
        ("layer,mapping,cores,ms\nconv1,big,4,1\nconv2,gpu,1,2\n", "was not timed on"),
        ("conv1 1 2\n", "line 1: no heading; name the mapping of each column"),
        ("", "line 1: no heading"),
    ],
)
def test_a_torn_table_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(MeasurementError, match=complaint):
        read_layers(tmp_path / "t.csv")


def test_what_no_card_knows_and_too_few_sizes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("layer,mapping,cores,ms\nno_such_layer,big,4,1\n")
    with pytest.raises(ConfigError, match="no_such_layer"):
        calibrate_layers({CARD: read_layers(tmp_path / "t.csv")}, Choices("my-phone"))
    (tmp_path / "c.csv").write_text("from,to,megabytes,ms\ncpu,gpu,1,1\ncpu,gpu,2,2\n")
    with pytest.raises(MeasurementError, match="2 tensor sizes, 3 are needed"):
        calibrate_layers(
            {CARD: read_layers(layer_csv(tmp_path))}, Choices("my-phone"), read_copies(tmp_path / "c.csv")
        )
    two = Choices("my-phone", board=Board(cpu_mhz=(400.0, 800.0)))
    table = read_layers(layer_csv(tmp_path))
    with pytest.raises(ConfigError, match="cpu_mhz: a table of layers is of one setting"):
        calibrate_layers({CARD: table}, two)


def test_a_published_phone_table_is_reproduced_to_rounding() -> None:
    folder = measurements_dir() / "phones-dagscheduler-layerwise" / "inception-v4"
    columns = [("big", 1), ("big", 2), ("big", 4), ("gpu", 1), ("little", 1), ("little", 2), ("little", 4)]
    table = read_layers(folder / "oneplus5t-inception-v4-layerwise-latency.csv", columns)
    copies = read_copies(folder / "inception-v4-oneplus5t-data-trans.csv")
    profile, report = calibrate_layers({"inception-v4": table}, Choices("my-phone"), copies)
    assert set(profile.mappings) == {"big1", "big2", "big4", "gpu", "little1", "little2", "little4"}
    assert isinstance(profile.latency["inception-v4"]["gpu"], SegmentTable)
    for row in report:
        if "difference_ms" in row:
            assert abs(row["difference_ms"]) < 1e-6
        else:
            assert row["error_percent"] < 15.0
