"""The phone: tables add up to the measurement, a composite mapping pays for one copy, assumptions say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_env.calibration.phone import (
    COLUMNS,
    calibrate_phone,
    fit_copy,
    read_copy_rows,
    read_layer_rows,
    segment_times,
)
from dvfo_env.devices import DeviceModel, describe, load_device
from dvfo_env.devices.profile import SegmentTable
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.record_yaml import write_record
from dvfo_env.workloads import load_workload
from tests.measurements import measurements_dir

PHONE = "phone-snapdragon835"
NOWHERE = ([0.0], [0.0], [0.0])


def model(workload: str = "inception-v4") -> DeviceModel:
    return DeviceModel(load_device(PHONE), load_workload(workload))


def total_ms(device: DeviceModel, mapping: str) -> float:
    return float(device.head_latency_ms(mapping, *NOWHERE)[-1, 0, 0, 0])


def test_layer_rows_become_milliseconds(tmp_path: Path) -> None:
    file = tmp_path / "phone.csv"
    file.write_text("Net/Conv2d/Conv2D 7000.5 4000 2000 1000 14000 7000 3500\n\n")
    assert read_layer_rows(file) == [("Net/Conv2d/Conv2D", (7.0005, 4.0, 2.0, 1.0, 14.0, 7.0, 3.5))]


@pytest.mark.parametrize(
    "text", ["", "Net/Conv2d 1 2 3\n", "Net/Conv2d 1 2 3 4 5 6 x\n", "a 1 2 3 4 5 6 -7\n"]
)
def test_a_malformed_layer_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "phone.csv"
    file.write_text(text)
    with pytest.raises(MeasurementError, match=r"phone\.csv"):
        read_layer_rows(file)


def test_copy_rows_skip_start_up_scalars(tmp_path: Path) -> None:
    file = tmp_path / "copies.csv"
    file.write_text("1001 2448.0 2448.0\n1,32,125,250 2725.0 2649.0\n")
    (row,) = read_copy_rows(file)
    assert (row.megabytes, row.to_gpu_ms, row.to_cpu_ms) == pytest.approx((4.0, 2.725, 2.649))
    file.write_text("1,x 1 2\n")
    with pytest.raises(MeasurementError, match="line 1: expected a shape"):
        read_copy_rows(file)


def test_a_copy_law_is_found_again() -> None:
    sizes = [0.1, 1.0, 2.0, 5.0]
    assert fit_copy(sizes, [1.5 + 0.5 * size for size in sizes]) == pytest.approx((1.5, 0.5, 0.0), abs=1e-9)
    with pytest.raises(MeasurementError, match="at least three"):
        fit_copy([1.0, 1.0, 2.0], [1.0, 1.0, 2.0])


def test_operations_go_to_their_segments_and_unknown_ones_are_refused() -> None:
    card = load_workload("inception-v4")
    first = card.segments[0].layers[0]
    rows = [(f"InceptionV4/InceptionV4/{first}/Conv2D", (1.5,)), ("InceptionV4/Logits/Predictions", (0.25,))]
    times = segment_times(card, rows, 0)
    assert times[card.cut_names[1]] == 1.5
    assert times[card.cut_names[-1]] == 0.25
    assert sum(times.values()) == 1.75
    with pytest.raises(ConfigError, match="Elsewhere"):
        segment_times(card, [("Elsewhere/Conv", (1.0,))], 0)


def test_every_core_set_is_there_for_inception() -> None:
    device = model()
    assert device.mappings[0] == "big4"
    assert set(device.mappings) == set(COLUMNS)
    times = {name: total_ms(device, name) for name in COLUMNS}
    for cluster in ("big", "little"):
        assert times[f"{cluster}1"] > times[f"{cluster}2"] > times[f"{cluster}4"]
    for threads in (1, 2, 4):
        assert times[f"little{threads}"] > 2.0 * times[f"big{threads}"]
    assert times["gpu"] < times["big4"]


def test_no_clock_is_pretended() -> None:
    device = model()
    assert (device.cpu_mhz, device.gpu_mhz, device.mem_mhz) == ((0.0,), (0.0,), (0.0,))


@pytest.mark.parametrize(("first", "second"), [("big4", "gpu"), ("gpu", "big4"), ("little4", "gpu")])
def test_a_composite_mapping_pays_for_exactly_one_copy(first: str, second: str) -> None:
    device = model()
    copies = load_device(PHONE).copies
    cost = copies["gpu>cpu" if first == "gpu" else "cpu>gpu"]
    heads = {name: device.head_latency_ms(name, *NOWHERE)[:, 0, 0, 0] for name in (first, second)}
    for cut in range(1, len(device.card.segments)):
        layer = device.card.segments[cut].layers[0]
        megabytes = device.card.elements[cut] * 4.0 / 1e6
        copy = cost.base_ms.value + cost.ms_per_mb.value * megabytes
        expected = heads[first][cut] + (heads[second][-1] - heads[second][cut]) + copy
        assert total_ms(device, f"{first}>{second}@{layer}") == pytest.approx(expected)


def test_handing_over_late_beats_the_gpu_alone() -> None:
    device = model()
    layers = [segment.layers[0] for segment in device.card.segments[1:]]
    assert min(total_ms(device, f"gpu>big4@{layer}") for layer in layers) < 0.97 * total_ms(device, "gpu")


def test_big_and_little_cannot_share_a_request_for_nobody_timed_it() -> None:
    with pytest.raises(ConfigError, match="copies has no cpu>cpu"):
        model().validate_mapping(f"big4>little4@{model().card.segments[3].layers[0]}")


@pytest.mark.parametrize("workload", ["resnet50", "vgg19", "yolov3-tiny"])
def test_the_other_workloads_know_one_and_four_big_cores_and_the_gpu(workload: str) -> None:
    device = model(workload)
    assert device.mappings == ("big4", "big1", "gpu")
    assert total_ms(device, "big1") > total_ms(device, "big4")


def test_a_table_that_misses_a_segment_is_refused() -> None:
    profile = load_device(PHONE)
    table = profile.latency["inception-v4"]["gpu"]
    assert isinstance(table, SegmentTable)
    fewer = dict(list(table.segment_ms.items())[1:])
    broken = profile.model_copy(
        update={"latency": {"inception-v4": {"big4": table.model_copy(update={"segment_ms": fewer})}}}
    )
    with pytest.raises(ConfigError, match="segment_ms: cut 'stem_conv_1' is missing"):
        DeviceModel(broken, load_workload("inception-v4"))


def test_evidence_is_stated_everywhere() -> None:
    rows = {row["name"]: row for row in describe(load_device(PHONE))}
    measured = {name for name, row in rows.items() if row["evidence"] == "measured"}
    assert {f"latency.inception-v4.{mapping}" for mapping in COLUMNS} <= measured
    assert {f"latency.resnet50.{mapping}" for mapping in ("big1", "big4", "gpu")} <= measured
    assert len(measured) == 10
    for name, row in rows.items():
        assert row["source"], name
        if name.startswith("power."):
            assert row["evidence"] == "assumed", name
        if row["evidence"] == "assumed":
            assert row["note"], name
            assert row["low"] <= row["value"] <= row["high"], name
        if row["evidence"] == "fitted":
            assert row["error_percent"] is not None, name


def test_power_depends_on_where_it_runs() -> None:
    device = model()

    def watts(mapping: str) -> float:
        energy = device.head_energy_mj(mapping, *NOWHERE, "board")[-1, 0, 0, 0]
        return float(energy) / total_ms(device, mapping)

    assert watts("little1") < watts("little4") < watts("big2") < watts("big4")
    assert watts("gpu") < watts("big4") + 0.1
    assert np.isfinite(watts("gpu"))


def test_the_shipped_profile_comes_from_the_raw_files(tmp_path: Path) -> None:
    (profile,), report = calibrate_phone(measurements_dir())
    assert load_device(write_record(profile, tmp_path / "again.yaml")) == load_device(PHONE)
    tables = [row for row in report if "raw_sum_ms" in row]
    assert len(tables) == len(COLUMNS)
    segments = len(load_workload("inception-v4").segments)
    for row in tables:
        assert abs(row["latency_ms"] - row["raw_sum_ms"]) <= 0.0005 * (segments + 1), row["mapping"]
    for row in report:
        if "copy" in row:
            assert row["error_percent"] < 15.0
            assert row["holdout_error_percent"] < 25.0


def test_missing_measurements_are_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="oneplus5t-inception-v4-layerwise-latency"):
        calibrate_phone(tmp_path)
