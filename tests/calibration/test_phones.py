"""The phones: tables add up to the measurement, a composite mapping pays for one copy, assumptions say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from dvfo_env.calibration.fitting import percent_error, relative_fit
from dvfo_env.calibration.laws import Array, fit_copy
from dvfo_env.calibration.phone.fit import calibrate_phones
from dvfo_env.calibration.phone.operations import segment_of_operation
from dvfo_env.calibration.phone.readers import (
    COLUMNS,
    layer_files,
    layer_table,
    mappings_of,
    read_copy_rows,
    read_layer_rows,
    read_whole_networks,
    segment_times,
)
from dvfo_env.devices import DeviceModel, describe, load_device
from dvfo_env.devices.profile import SegmentTable
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.record_yaml import write_record
from dvfo_env.workloads import load_workload
from tests.measurements import measurements_dir

PHONE = "phone-snapdragon835"
PHONES = (
    "phone-galaxy-s10",
    "phone-kirin990",
    "phone-pixel4",
    "phone-snapdragon710",
    "phone-snapdragon835",
    "phone-snapdragon855",
)
CARDS = {"inception-v3": "inception-v3", "inception-v4": "inception-v4"} | {
    "acl-inception_v3": "inception-v3",
    "acl-inception_v4": "inception-v4",
}
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
    law = fit_copy(sizes, [1.5 + 0.5 * size for size in sizes])
    assert law == pytest.approx((1.5, 0.5), rel=1e-6)
    assert law.predict(np.asarray([4.0])) == pytest.approx([3.5])
    with pytest.raises(MeasurementError, match="2 tensor sizes, 3 are needed"):
        fit_copy([1.0, 1.0, 2.0], [1.0, 1.0, 2.0])
    with pytest.raises(MeasurementError, match="times above 0"):
        fit_copy([1.0, 2.0, 3.0], [1.0, 0.0, 2.0])


def test_a_copy_that_stalled_once_does_not_tilt_the_law() -> None:
    sizes = [0.1 * number for number in range(1, 31)]
    times = [1.5 + 0.5 * size for size in sizes]
    times[3] *= 10.0
    assert fit_copy(sizes, times) == pytest.approx((1.5, 0.5), rel=0.05)


def test_neither_part_of_a_copy_law_is_below_zero() -> None:
    law = fit_copy([1.0, 2.0, 4.0, 8.0], [1.0, 2.2, 4.8, 10.4])  # steeper than a line through the origin
    assert law.base_ms >= 0.0
    law = fit_copy([1.0, 2.0, 4.0, 8.0], [4.0, 3.8, 3.7, 3.2])  # larger ones seem faster
    assert law.ms_per_mb >= 0.0


def test_the_copy_laws_objective_is_the_one_that_predicts_sizes_left_out() -> None:
    """Every published table of copies: median error of sizes by a fit to the others, against two rivals."""
    folder = measurements_dir() / "phones-dagscheduler-layerwise"
    tables = {tuple(read_copy_rows(file)) for file in sorted(folder.glob("*/*-data-trans.csv"))}
    assert len(tables) == 40

    def logarithms(size: Array, time: Array) -> Array:
        return relative_fit(lambda x: x[0] + x[1] * size, time, [0.5 * time.min(), (time / size).min()])

    def relative(size: Array, time: Array) -> Array:
        design = np.column_stack([np.ones_like(size), size]) / time[:, None]
        return np.asarray(np.linalg.lstsq(design, np.ones_like(time), rcond=None)[0])

    def left_out(fit: Callable[[Array, Array], Sequence[float] | Array]) -> float:
        medians = []
        for rows in tables:
            size = np.asarray([row.megabytes for row in rows])
            for time in np.asarray([(row.to_gpu_ms, row.to_cpu_ms) for row in rows]).T:
                errors: list[float] = []
                for one in np.unique(size)[::4]:
                    base, slope = fit(size[size != one], time[size != one])
                    errors += percent_error(base + slope * size[size == one], time[size == one]).tolist()
                medians.append(float(np.median(errors)))
        return float(np.mean(medians))

    assert left_out(fit_copy) < min(left_out(logarithms), left_out(relative))


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


@pytest.mark.parametrize("name", PHONES)
def test_evidence_is_stated_everywhere(name: str) -> None:
    for row in describe(load_device(name)):
        assert row["source"], row["name"]
        if row["name"].startswith("power."):
            assert row["evidence"] == "assumed", row["name"]
        if row["evidence"] == "assumed":
            assert row["note"], row["name"]
            assert row["low"] <= row["value"] <= row["high"], row["name"]
        if row["evidence"] == "fitted":
            assert row["error_percent"] is not None, row["name"]
            assert row["holdout_error_percent"] is not None, row["name"]


def test_what_was_timed_is_called_measured() -> None:
    measured = {row["name"] for row in describe(load_device(PHONE)) if row["evidence"] == "measured"}
    for workload in ("inception-v3", "inception-v4"):
        assert {f"latency.{workload}.{mapping}" for mapping in COLUMNS} <= measured
    for workload in ("mobilenet-v2", "resnet18", "resnet50", "squeezenet", "vgg16"):
        assert {f"latency.{workload}.{mapping}" for mapping in ("big1", "big4", "gpu")} <= measured
    assert not {f"latency.vgg19.{mapping}" for mapping in ("big1", "big4", "gpu")} & measured


@pytest.mark.parametrize("name", PHONES)
def test_every_phone_has_networks_that_run_with_big_cores_and_gpu(name: str) -> None:
    profile = load_device(name)
    assert len(profile.latency) >= 2
    assert {mapping.cluster for mapping in profile.mappings.values()} <= set(profile.cores)
    for workload, laws in profile.latency.items():
        device = DeviceModel(profile, load_workload(workload))
        assert device.mappings[0] == profile.out_of_the_box
        assert (device.cpu_mhz, device.gpu_mhz, device.mem_mhz) == ((0.0,), (0.0,), (0.0,))
        assert all(total_ms(device, mapping) > 0.0 for mapping in laws)


@pytest.mark.parametrize("name", [name for name in PHONES if name != "phone-snapdragon855"])
def test_five_phones_have_little_cores_too(name: str) -> None:
    clusters = {mapping.cluster for mapping in load_device(name).mappings.values()}
    assert {"big", "little"} <= clusters


def test_a_phone_whose_copies_nobody_timed_shares_no_request() -> None:
    device = DeviceModel(load_device("phone-galaxy-s10"), load_workload("resnet18"))
    layer = device.card.segments[2].layers[0]
    with pytest.raises(ConfigError, match="copies has no cpu>gpu"):
        device.validate_mapping(f"big2>gpu@{layer}")


def test_power_depends_on_where_it_runs() -> None:
    device = model()

    def watts(mapping: str) -> float:
        energy = device.head_energy_mj(mapping, *NOWHERE, "board")[-1, 0, 0, 0]
        return float(energy) / total_ms(device, mapping)

    assert watts("little1") < watts("little4") < watts("big2") < watts("big4")
    assert watts("gpu") < watts("big4") + 0.1
    assert np.isfinite(watts("gpu"))


def test_operations_of_inception_v3_find_torchvisions_layers() -> None:
    card = load_workload("inception-v3")
    where = {layer: index for index, segment in enumerate(card.segments) for layer in segment.layers}
    for operation, layer in (
        ("InceptionV3/InceptionV3/Conv2d_2b_3x3/Conv2D", "Conv2d_2b_3x3"),
        ("InceptionV3/InceptionV3/MaxPool_3a_3x3/MaxPool", "maxpool1"),
        ("Mixed_5b/Branch_1/Conv2d2d_0b_5x5/convolution", "Mixed_5b.branch5x5_2"),
        ("Mixed_5c/Branch_1/Conv_1_0c_5x5/Conv2D", "Mixed_5c.branch5x5_2"),
        ("Mixed_6a/Branch_1/Conv2d_1a_1x1/Conv2D", "Mixed_6a.branch3x3dbl_3"),
        ("Mixed_6b/Branch_2/Conv2d_0a_1x1/Conv2D", "Mixed_6b.branch7x7dbl_1"),
        ("Mixed_6b/Branch_2/Conv2d_0e_1x7/Conv2D", "Mixed_6b.branch7x7dbl_5"),
        ("Mixed_6b/Branch_3/Conv2d_0b_1x1/Conv2D", "Mixed_6b.branch_pool"),
        ("Mixed_7a/Branch_0/Conv2d_1a_3x3/Conv2D", "Mixed_7a.branch3x3_2"),
        ("Mixed_7a/Branch_1/Conv2d_1a_3x3/Conv2D", "Mixed_7a.branch7x7x3_4"),
        ("Mixed_7b/Branch_2/Conv2d_0d_3x1/Conv2D", "Mixed_7b.branch3x3dbl_3b"),
        ("Mixed_7c/Branch_1/Conv2d_0b_1x3/Conv2D", "Mixed_7c.branch3x3_2a"),
        ("InceptionV3/Logits/AvgPool_1a_8x8/AvgPool", "avgpool"),
        ("InceptionV3/Predictions/Softmax", "fc"),
    ):
        assert segment_of_operation(card, operation) == where[layer], operation
    assert segment_of_operation(card, "Mixed_6b/concat") == where["Mixed_6b.concat"]
    with pytest.raises(ConfigError, match="no layer"):
        segment_of_operation(card, "Mixed_6a/Branch_1/Conv2d_0d_1x1/Conv2D")
    with pytest.raises(ConfigError, match="expected a convolution or a pool"):
        segment_of_operation(card, "Mixed_6a/Branch_1/Dense/Dense")


def test_little_columns_that_copy_the_big_ones_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "phone.csv"
    file.write_text("a 8 4 2 1 8 4 2\nb 8 4 2 1 8 4 2\n")
    assert mappings_of(read_layer_rows(file)) == ("big1", "big2", "big4", "gpu")
    file.write_text("a 8 4 2 1 9 5 3\nb 8 4 2 1 8 4 2\n")
    assert mappings_of(read_layer_rows(file)) == COLUMNS


def test_whole_networks_are_read_by_core_set(tmp_path: Path) -> None:
    folder = tmp_path / "phones-qedusc-core-mapping"
    folder.mkdir()
    file = folder / "t.csv"
    head = "model,FLOPS,size,toy|1large|float|mean,toy|1large|float|std,toy|gpu|float|mean,toy|gpu|float|std"
    file.write_text(f"{head}\nnet,1,1,2000,100,,\n")
    times = read_whole_networks(tmp_path, "t.csv", "toy")["net"]
    assert {name: (time.mean_ms, time.std_ms) for name, time in times.items()} == {"1large": (2.0, 0.1)}
    with pytest.raises(MeasurementError, match="no times of device 'other'"):
        read_whole_networks(tmp_path, "t.csv", "other")
    with pytest.raises(MeasurementError, match=r"none\.csv: cannot be read"):
        read_whole_networks(tmp_path, "none.csv", "toy")


def test_every_layer_table_is_reproduced_to_rounding() -> None:
    """Every phone, network and mapping of the layer-wise set: each layer to 1 us, and the sums."""
    files = layer_files(measurements_dir())
    assert len(files) == 67
    checked = 0
    for file in files:
        rows = read_layer_rows(file)
        raw: dict[str, list[float]] = {}
        for name, times in rows:
            raw[name] = [a + b for a, b in zip(raw.get(name, [0.0] * len(times)), times, strict=True)]
        for mapping in mappings_of(rows):
            column = COLUMNS.index(mapping)
            table = layer_table(rows, column, str(file))
            assert set(table.layer_ms) == set(raw)
            worst = max(abs(table.layer_ms[name] - times[column]) for name, times in raw.items())
            assert worst <= 0.0005 + 1e-9, (file, mapping)
            total = sum(times[column] for _, times in rows)
            assert abs(sum(table.layer_ms.values()) - total) <= 0.0005 * len(rows), (file, mapping)
            checked += 1
    assert checked == 67 * 4 + 12 * 3, "three of fifteen little sets are copies of the big ones"


def test_every_layer_table_of_a_shipped_network_keeps_its_sum_by_segment() -> None:
    files = [file for file in layer_files(measurements_dir()) if file.parent.name in CARDS]
    assert len(files) == 23
    for file in files:
        card, rows = load_workload(CARDS[file.parent.name]), read_layer_rows(file)
        for mapping in mappings_of(rows):
            column = COLUMNS.index(mapping)
            segments = segment_times(card, rows, column)
            total = sum(times[column] for _, times in rows)
            assert abs(sum(segments.values()) - total) <= 0.0005 * len(segments) + 1e-9, (file, mapping)


def test_the_shipped_profiles_come_from_the_raw_files(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the power of a measured core is read from Parquet")
    profiles, report = calibrate_phones(measurements_dir())
    assert tuple(profile.name for profile in profiles) == PHONES
    for profile in profiles:
        assert load_device(write_record(profile, tmp_path / "again.yaml")) == load_device(profile.name)
    tables = [row for row in report if row.get("raw_sum_ms") is not None]
    assert len(tables) == 2 * 7 + 7 + 4 + 2 * 4 + 2 * 3
    for row in tables:
        segments = len(load_workload(row["workload"]).segments)
        assert abs(row["latency_ms"] - row["raw_sum_ms"]) <= 0.0005 * (segments + 1), row
    copies = {(row["device"], row["copy"]): row for row in report if "copy" in row}
    assert len(copies) == 10
    for row in copies.values():
        assert row["holdout_points"] >= 10
    for way in ("cpu>gpu", "gpu>cpu"):
        assert copies[PHONE, way]["error_percent"] < 15.0
        assert copies[PHONE, way]["holdout_error_percent"] < 25.0


def test_missing_measurements_are_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="ncnn_benchmark_README"):
        calibrate_phones(tmp_path)
    with pytest.raises(MeasurementError, match="oneplus5t-inception-v4-layerwise-latency"):
        read_layer_rows(tmp_path / "oneplus5t-inception-v4-layerwise-latency.csv")
