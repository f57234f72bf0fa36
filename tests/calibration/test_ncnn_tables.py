"""The benchmark's console text is read as it was printed; FLOP scaling says how wrong it is."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from dvfo_env.calibration.ncnn_tables import (
    NEAREST_NETWORKS,
    STATED_GFLOP,
    BenchRow,
    network_latency,
    parse_ncnn_tables,
    read_ncnn_tables,
    scaling_errors_percent,
    scaling_fit,
    select_run,
    split_by_flops,
    workloads_of,
)
from dvfo_env.errors import MeasurementError
from dvfo_env.workloads import load_workload
from tests.measurements import measurements_dir

TEXT = """Some words before any board
          squeezenet  min =    9.99  max =    9.99  avg =    9.99

### Toy Board (2 big + 2 little)
- note of its owner

single core

```
me@toy:~$ ./benchncnn 8 1 2 0 1
[0 Toy GPU]  queueC=0[3]
loop_count = 8
num_threads = 1
powersave = 2
gpu_device = -1
cooling_down = 1
            resnet18  min =   20.00  max =   21.00  avg =   20.50
            resnet50  min =   40.00  max =   43.00  avg =   41.00
loop_count = 8
num_threads = 2
powersave = 1
gpu_device = -1
            resnet50  min =  140.00  max =  143.00  avg =  141.00
```

### Other Board
```
$ benchncnn.exe 100 16 0 0 0
               vgg16  min =    2.27  max =    3.97  avg =    2.46
         yolov4-tiny  min =    6.54  max =    7.05  avg =    6.69
```
"""


def rows() -> list[BenchRow]:
    return parse_ncnn_tables(TEXT)


def test_lines_before_the_first_board_are_no_results() -> None:
    assert len(rows()) == 5
    assert {row.board for row in rows()} == {"Toy Board (2 big + 2 little)", "Other Board"}


def test_printed_settings_win_over_the_command_line() -> None:
    first = rows()[0]
    assert (first.network, first.threads, first.power_save, first.gpu_device) == ("resnet18", 1, 2, -1)
    assert (first.min_ms, first.max_ms, first.avg_ms) == (20.0, 21.0, 20.5)
    assert first.section == "single core"


def test_each_printed_header_opens_a_run() -> None:
    assert [row.run for row in rows()] == [1, 1, 2, 3, 3]
    assert rows()[2].threads == 2


def test_the_command_line_serves_where_nothing_is_printed() -> None:
    last = rows()[-1]
    assert (last.threads, last.power_save, last.gpu_device, last.section) == (16, 0, 0, "")


def test_select_run_takes_exactly_one_run() -> None:
    assert set(select_run(rows(), "Toy", threads=1)) == {"resnet18", "resnet50"}
    assert select_run(rows(), "Toy", threads=2, power_save=1)["resnet50"].avg_ms == 141.0
    with pytest.raises(MeasurementError, match=r"'Toy', 4 threads.*expected one run, found 0"):
        select_run(rows(), "Toy", threads=4)
    twice = parse_ncnn_tables(TEXT + TEXT)
    with pytest.raises(MeasurementError, match="found 2"):
        select_run(twice, "Toy", threads=2)


def test_a_network_in_the_run_is_measured() -> None:
    latency = network_latency(select_run(rows(), "Toy", threads=1), "resnet50")
    assert (latency.value, latency.evidence, latency.range) == (41.0, "measured", (40.0, 43.0))


def test_another_network_is_scaled_by_flops_and_assumed() -> None:
    run = select_run(rows(), "Other", threads=16, gpu_device=0)
    latency = network_latency(run, "vgg19")
    assert latency.evidence == "assumed"
    assert latency.value == pytest.approx(2.46 * 39.3 / 30.974, abs=1e-3)
    assert latency.range is not None
    assert latency.range[0] == 2.46, "VGG-19 holds VGG-16 whole"
    assert latency.range[1] == pytest.approx(6.69 * 39.3 / 6.9289, abs=1e-3)


def test_the_second_nearest_network_serves_where_the_nearest_is_missing() -> None:
    latency = network_latency(select_run(rows(), "Toy", threads=1), "yolov3-tiny")
    assert latency.note is not None
    assert latency.note.startswith("resnet18")


def test_nothing_to_scale_from_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="vgg19: the run holds no vgg16"):
        network_latency(select_run(rows(), "Toy", threads=1), "vgg19")


def test_a_network_of_the_benchmark_is_measured_under_our_spelling_of_its_name() -> None:
    run = {**select_run(rows(), "Toy", threads=1)}
    run["mobilenet_v2"] = run.pop("resnet18")
    latency = network_latency(run, "mobilenet-v2")
    assert (latency.value, latency.evidence) == (20.5, "measured")


def test_a_vision_transformer_scales_between_its_tokens_and_their_square() -> None:
    run = {"vision_transformer": select_run(rows(), "Toy", threads=1)["resnet50"]}
    latency = network_latency(run, "vit-b16")
    low, high = latency.range or (0.0, 0.0)
    assert (low, high) == pytest.approx((41.0, 41.0 * (197 / 145) ** 2), abs=1e-3)
    assert low < latency.value < high


def test_workloads_of_a_run_are_those_it_can_tell_of() -> None:
    both = workloads_of(
        select_run(rows(), "Toy", threads=1), select_run(rows(), "Toy", threads=2, power_save=1)
    )
    assert both == ("inception-v3", "inception-v4", "resnet152", "resnet50")


def test_a_run_on_a_gpu_tells_nothing_of_a_transformer() -> None:
    (row,) = (row for row in rows() if row.network == "resnet18")
    on_cpu = {"vision_transformer": row}
    on_gpu = {"vision_transformer": replace(row, gpu_device=0)}
    assert workloads_of(on_cpu) == ("vit-b16",)
    assert workloads_of(on_gpu) == ()


def test_a_split_by_flops_adds_up_and_stays_in_its_range() -> None:
    total = network_latency(select_run(rows(), "Toy", threads=1), "resnet50")
    table = split_by_flops(total, "resnet50", "toy")
    whole = sum(table.segment_ms.values())
    assert whole == pytest.approx(41.0, abs=0.02)
    assert table.range_ms is not None
    assert table.range_ms[0] <= whole <= table.range_ms[1]
    assert table.fit.conditions.startswith("toy; ")


def test_scaling_errors_are_those_of_every_ordered_pair() -> None:
    errors = scaling_errors_percent(select_run(rows(), "Toy", threads=1))
    rate = (20.5 / STATED_GFLOP["resnet18"].gflop) / (41.0 / STATED_GFLOP["resnet50"].gflop)
    assert errors == pytest.approx(sorted([abs(rate - 1) * 100, abs(1 / rate - 1) * 100]))


def itself(workload: str) -> bool:
    """Whether the benchmark holds the workload under its own name."""
    return NEAREST_NETWORKS[workload] == (workload.replace("-", "_"),)


def test_how_far_scaling_goes_is_told_by_networks_left_out() -> None:
    run = select_run(rows(), "Toy", threads=1)
    fit = scaling_fit([run, run])
    errors = scaling_errors_percent(run)
    assert fit.points == 2 * len(errors)
    assert fit.error_percent is None
    assert fit.holdout_error_percent == pytest.approx(sum(errors) / len(errors), abs=0.1)
    assert fit.holdout_worst_percent == pytest.approx(errors[-1], abs=0.1)


def test_every_scaled_workload_and_its_stand_ins_have_stated_flops() -> None:
    for workload, nearest in NEAREST_NETWORKS.items():
        if not itself(workload):
            assert workload in STATED_GFLOP
            assert set(nearest) <= set(STATED_GFLOP)


def test_stated_flops_are_those_of_the_workload_cards() -> None:
    for workload in set(NEAREST_NETWORKS) & set(STATED_GFLOP):
        counted = float(load_workload(workload).flops.sum()) / 1e9
        tolerance = 0.07 if workload == "resnet50" else 0.01  # the benchmark strides in the 1x1 convolutions
        assert STATED_GFLOP[workload].gflop == pytest.approx(counted, rel=tolerance), workload


def test_text_without_results_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "ncnn-benchmark-tables"
    folder.mkdir()
    (folder / "ncnn_benchmark_README.txt.gz").write_bytes(gzip.compress(b"### Board\n"))
    with pytest.raises(MeasurementError, match="no line of the form"):
        read_ncnn_tables(tmp_path)
    (folder / "ncnn_benchmark_README.txt.gz").write_bytes(b"not gzip")
    with pytest.raises(MeasurementError, match="cannot be read"):
        read_ncnn_tables(tmp_path)


def test_the_whole_text_is_read() -> None:
    every = read_ncnn_tables(measurements_dir())
    assert len(every) == 8554
    assert all(row.min_ms <= row.avg_ms <= row.max_ms or row.avg_ms > 0 for row in every)
