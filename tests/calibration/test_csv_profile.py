"""A board of one's own from a table: the law comes back, and what cannot be told is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvfo_env.calibration.fitting import percent_error
from dvfo_env.calibration.own.board import Board, load_board
from dvfo_env.calibration.own.choices import Choices
from dvfo_env.calibration.own.design import design, three_clocks
from dvfo_env.calibration.own.profile import Calibrated, calibrate_rows
from dvfo_env.calibration.own.table import Row
from dvfo_env.calibration.tx2.readers import read_latency_grid, read_tegrastats
from dvfo_env.devices import DeviceModel, load_device
from dvfo_env.devices.profile import ClockLaw, SegmentTable
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.record_yaml import write_record
from dvfo_env.workloads import load_workload
from tests.calibration.board_rows import (
    BOARD,
    BUSY_MW,
    CORE_EXPONENT,
    CORE_MW,
    CPU,
    GPU,
    IDLE_MW,
    LAUNCH,
    MEM,
    ORIGIN,
    SHAPE,
    cpu_row,
    gpu_ms,
    gpu_row,
    idle_row,
    six_points,
)
from tests.measurements import measurements_dir


def fitted(rows: Sequence[Row], board: Board | None = BOARD, **choices: object) -> Calibrated:
    """A profile of rows of the made-up board."""
    return calibrate_rows(rows, [ORIGIN], Choices("my-board", board=board, **choices))  # type: ignore[arg-type]


def law_of(made: Calibrated, mapping: str) -> ClockLaw:
    """The clock law of resnet50."""
    law = made.profile.latency["resnet50"][mapping]
    assert isinstance(law, ClockLaw)
    return law


def test_the_design_is_three_gpu_clocks_by_two_memory_clocks_and_the_cpu() -> None:
    points = design(BOARD, [("gpu", 1)], power=False)
    pairs = {(p.gpu_mhz, p.mem_mhz) for p in points if p.cpu_mhz == 1600.0}
    assert pairs == {(gpu, mem) for gpu in (100.0, 500.0, 1000.0) for mem in (800.0, 1600.0)}
    assert [p.cpu_mhz for p in points if p.cpu_mhz != 1600.0] == [400.0]
    assert three_clocks((1.0, 2.0)) == (1.0, 2.0)
    with pytest.raises(ConfigError, match="no mapping given"):
        design(BOARD, [])


def test_the_points_of_the_design_are_enough_for_every_law() -> None:
    rows = []
    for point in design(BOARD, [("gpu", 1), ("cpu", 4), ("cpu", 1)]):
        assert point.cpu_mhz
        assert point.gpu_mhz
        assert point.mem_mhz
        if point.mapping == "idle":
            rows.append(idle_row(point.mem_mhz))
        elif point.mapping == "gpu":
            rows.append(gpu_row(point.gpu_mhz, point.mem_mhz, point.cpu_mhz))
        else:
            rows.append(cpu_row(point.cores, point.cpu_mhz, point.mem_mhz))
    made = fitted(rows)
    assert list(made.profile.mappings) == ["gpu", "cpu4", "cpu1"]
    law = law_of(made, "cpu1")
    assert law.cpu_ms_ghz
    assert law.cpu_ms_ghz.value == pytest.approx(CPU, rel=1e-3)
    assert law.core_exponent
    assert law.core_exponent.value == pytest.approx(CORE_EXPONENT, rel=1e-2)


def test_the_law_comes_back_from_seven_points() -> None:
    made = fitted([*six_points(), gpu_row(1000.0, 1600.0, cpu_mhz=400.0)])
    law = law_of(made, "gpu")
    found = [law.cpu_ms_ghz, law.gpu_ms_ghz, law.mem_ms_ghz, law.shape]
    assert [c.value for c in found if c] == pytest.approx([LAUNCH, GPU, MEM, SHAPE], rel=0.02)
    assert all(c and c.evidence == "fitted" and "made-up.csv (1 rows, sha256 0000" in c.source for c in found)
    model = DeviceModel(made.profile, load_workload("resnet50"))
    assert model.head_latency_ms("gpu", 800.0, 300.0, 1200.0)[-1, 0, 0, 0] == pytest.approx(
        gpu_ms(800.0, 300.0, 1200.0), rel=0.01
    )
    assert made.profile.power is None
    assert all(abs(row["residual_percent"]) < 0.1 for row in made.residuals)


def test_without_a_cpu_sweep_the_launch_time_is_shared_out_by_another_board_and_says_so() -> None:
    law = law_of(fitted(six_points()), "gpu")
    assert law.t0_ms
    assert law.cpu_ms_ghz
    assert law.cpu_ms_ghz.evidence == "assumed"
    assert law.cpu_ms_ghz.range
    assert "CPU clock was not varied" in str(law.cpu_ms_ghz.note)
    assert law.t0_ms.value + law.cpu_ms_ghz.value / 1.6 == pytest.approx(1.0 + LAUNCH / 1.6, rel=0.05)


def test_fewer_than_six_pairs_take_the_shape_from_elsewhere() -> None:
    rows = [row for row in six_points() if (row.gpu_mhz, row.mem_mhz) != (100.0, 800.0)]
    law = law_of(fitted(rows), "gpu")
    assert law.shape
    assert (law.shape.value, law.shape.evidence) == (3.0, "assumed")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (
            [gpu_row(g, m) for g in (100.0, 1000.0) for m in (800.0, 1600.0)],
            r"resnet50 on gpu: 2 clocks of the GPU measured at one memory clock, 3 are needed; measure "
            r"\(MHz\): cpu 1600 gpu 500 mem 1600; cpu 1600 gpu 500 mem 800",
        ),
        (
            [gpu_row(g, 1600.0) for g in (100.0, 500.0, 1000.0)],
            r"1 clock of the memory measured at one GPU clock, 2 are needed; measure .*gpu 1000 mem 800",
        ),
        (
            [gpu_row(100.0, 800.0), gpu_row(500.0, 1200.0), gpu_row(1000.0, 1600.0)],
            r"1 clock of the GPU measured at one memory clock",
        ),
        (
            [cpu_row(4, 1600.0), cpu_row(4, 400.0)],
            r"2 clocks of the CPU .* measure .*cpu 800 gpu 100 mem 1600",
        ),
        ([idle_row(800.0)], r"only idle rows"),
        ([replace(gpu_row(500.0, 800.0), gpu_mhz=None)], r"line 2: gpu_mhz is empty, but the board has"),
        ([replace(gpu_row(500.0, 800.0), gpu_mhz=550.0)], r"line 2: gpu_mhz 550: the board's clocks are 100"),
        ([replace(cpu_row(4, 400.0), cores=6)], r"line 3: cores 6: the board has 4 in cluster cpu"),
    ],
)
def test_too_few_or_degenerate_points_are_refused_with_what_is_missing(
    rows: list[Row], complaint: str
) -> None:
    with pytest.raises(MeasurementError, match=complaint):
        fitted(rows)


def test_a_clock_cut_off_by_a_tool_is_the_boards_own() -> None:
    board = BOARD.model_copy(update={"gpu_mhz": (114.75, 500.0, 1000.0)})
    rows = [replace(row, gpu_mhz=114.0) if row.gpu_mhz == 100.0 else row for row in six_points()]
    assert fitted(rows, board).residuals[0]["gpu_mhz"] == 114.75


def test_a_board_without_clocks_gives_a_measured_table() -> None:
    rows = [
        Row("big", 4, None, None, None, "resnet50", time, where="made-up.csv: line 2")
        for time in (100.0, 104.0)
    ]
    made = fitted(rows, None)
    law = made.profile.latency["resnet50"]["big"]
    assert isinstance(law, SegmentTable)
    assert (law.evidence, law.range_ms) == ("measured", (100.0, 104.0))
    assert sum(law.segment_ms.values()) == pytest.approx(102.0, rel=1e-4)
    with pytest.raises(ConfigError, match="no card of that name"):
        fitted([replace(row, workload="unheard-of") for row in rows], None)


def powered(rows: Sequence[Row]) -> list[Row]:
    """Rows with the power of a board without voltage curve (clocks below the knee count alone)."""
    done = []
    for row in rows:
        cpu, gpu, _ = row.clocks
        volts = max(1.0, 1.0 + 0.36 * (cpu / 1000.0 - 1.0)) ** 2 / 1.216**2
        power = IDLE_MW + row.cores * CORE_MW * cpu / 1600.0 * volts
        if row.runs_on_gpu:
            power += BUSY_MW * gpu / 1000.0
        done.append(replace(row, power_mw=power))
    return done


def test_power_comes_back_and_is_none_where_nobody_measured_it() -> None:
    rows = powered([*six_points(), gpu_row(1000.0, 1600.0, cpu_mhz=400.0)])
    made = fitted([*rows, idle_row(800.0), idle_row(1600.0, IDLE_MW + 400.0)])
    assert made.profile.power
    board = made.profile.power.board
    assert board.base_mw.evidence == "measured"
    assert [step.value for step in board.mem_idle_mw or ()] == pytest.approx([0.0, 200.0, 400.0])
    assert made.report[-1]["quantity"] == "power"
    flat = fitted([*rows, idle_row(800.0)])
    assert flat.profile.power
    assert flat.profile.power.board.gpu
    assert flat.profile.power.board.gpu.busy_mw.value == pytest.approx(BUSY_MW, rel=0.02)
    assert flat.profile.power.board.cores["cpu"].core_mw.value == pytest.approx(CORE_MW, rel=0.1)


def test_power_without_the_waiting_board_is_refused() -> None:
    with pytest.raises(
        MeasurementError, match="add a row with workload idle and power_mw, or give --idle-mw"
    ):
        fitted(powered(six_points()))
    assert fitted(powered(six_points()), idle_mw=IDLE_MW).profile.power


def test_watts_by_hand_are_assumed_with_a_range() -> None:
    made = fitted(six_points(), idle_mw=2000.0, busy_mw={"gpu": 9000.0})
    assert made.profile.power
    assert made.profile.power.board.gpu
    busy = made.profile.power.board.gpu.busy_mw
    assert (busy.evidence, busy.source) == ("assumed", "given by hand")
    assert busy.range == pytest.approx((0.75 * busy.value, 1.25 * busy.value), rel=1e-4)
    model = DeviceModel(made.profile, load_workload("resnet50"))
    time = model.head_latency_ms("gpu", 1600.0, 1000.0, 1600.0)[-1, 0, 0, 0]
    energy = model.head_energy_mj("gpu", 1600.0, 1000.0, 1600.0, "board")[-1, 0, 0, 0]
    assert 1000.0 * energy / time == pytest.approx(9000.0, rel=1e-3)
    with pytest.raises(ConfigError, match="is not above idle"):
        fitted(six_points(), idle_mw=2000.0, busy_mw={"gpu": 1000.0})
    with pytest.raises(ConfigError, match="needs the waiting board's too"):
        fitted(six_points(), busy_mw={"gpu": 9000.0})


@pytest.mark.parametrize("name", ["jetson-tx2", "My Board", "", "host", "../x"])
def test_a_name_that_could_not_be_found_again_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        calibrate_rows(six_points(), [ORIGIN], Choices(name, board=BOARD))


def test_a_board_comes_from_a_file_or_a_known_device(tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text("cores: {cpu: 4}\ncpu_mhz: [400, 800]\n")
    assert load_board(tmp_path / "board.yaml") == Board(cores={"cpu": 4}, cpu_mhz=(400.0, 800.0))
    assert load_board("jetson-tx2").mem_mhz[-1] == 1866.0
    profile = write_record(load_device("jetson-tx2"), tmp_path / "tx2.yaml")
    assert load_board(profile) == load_board("jetson-tx2")
    (tmp_path / "board.yaml").write_text("cpu_mhz: [800, 400]\n")
    with pytest.raises(ConfigError, match=r"board.yaml: cpu_mhz: .*ascend"):
        load_board(tmp_path / "board.yaml")


@pytest.mark.parametrize("workload", ["inception-v4", "vgg19", "yolov3-tiny"])
def test_six_measured_points_of_a_tx2_predict_its_other_clock_pairs_within_one_percent(workload: str) -> None:
    grid = read_latency_grid(measurements_dir(), workload)
    board = load_board("jetson-tx2")
    chosen = {(p.gpu_mhz, p.mem_mhz) for p in design(board, [("gpu", 1)], power=False)}
    rows: list[Row] = []
    rest: list[Row] = []
    for gpu, mem, time in zip(grid.gpu_ghz, grid.mem_ghz, grid.latency_ms, strict=True):
        row = Row("gpu", 1, 2035.2, round(gpu * 1000, 2), round(mem * 1000, 1), workload, float(time))
        (rows if (row.gpu_mhz, row.mem_mhz) in chosen else rest).append(row)
    assert (len(rows), len(rest)) == (6, 46)
    made = calibrate_rows(rows, [ORIGIN], Choices("my-tx2", board=board))
    model = DeviceModel(made.profile, load_workload(workload))
    predicted = [model.head_latency_ms("gpu", *row.clocks)[-1, 0, 0, 0] for row in rest]
    errors = percent_error(np.asarray(predicted), np.asarray([row.latency_ms for row in rest]))
    assert errors.mean() < 1.0
    assert errors.max() < 2.5


def test_power_of_a_tx2_from_three_clocks_predicts_the_other_ten_within_five_percent() -> None:
    log = read_tegrastats(measurements_dir(), vgg=True)
    grid = read_latency_grid(measurements_dir(), "vgg19")
    rows: list[Row] = []
    rest: list[Row] = []
    for gpu, mem, time in zip(grid.gpu_ghz, grid.mem_ghz, grid.latency_ms, strict=True):
        gpu_mhz, mem_mhz = round(gpu * 1000, 2), round(mem * 1000, 1)
        power = None
        if mem_mhz == 1866.0:
            at = (log.gpu_mhz == int(gpu_mhz)) & (log.gpu_load >= 0.9)
            power = float(log.board_mw[at].mean())
        row = Row("gpu", 1, 2035.2, gpu_mhz, mem_mhz, "vgg19", float(time), power)
        (rows if gpu_mhz in (114.75, 624.75, 1300.5) else rest).append(row)
    choices = Choices("my-tx2", board=load_board("jetson-tx2"), idle_mw=3469.0)
    power_law = calibrate_rows(rows, [ORIGIN], choices).profile
    model = DeviceModel(power_law, load_workload("vgg19"))
    errors = []
    for row in rest:
        if row.power_mw:
            energy = model.head_energy_mj("gpu", *row.clocks, "board")[-1, 0, 0, 0]
            time = model.head_latency_ms("gpu", *row.clocks)[-1, 0, 0, 0]
            errors.append(abs(1000.0 * energy / time / row.power_mw - 1.0) * 100.0)
    assert len(errors) == 10
    assert float(np.mean(errors)) < 5.0


def test_a_clock_that_changes_nothing_is_asked_about() -> None:
    stuck = [replace(row, latency_ms=50.0) for row in six_points()]
    (row,) = (row for row in fitted(stuck).report if row["quantity"] == "latency")
    assert row["note"].startswith("the GPU clock changes nothing: was it set while these points ran?")
    (row,) = (row for row in fitted(six_points()).report if row["quantity"] == "latency")
    assert "changes nothing" not in row["note"]


def test_watts_by_hand_are_asked_for_every_cluster_that_runs_networks() -> None:
    rows = [*six_points(), *(cpu_row(4, mhz) for mhz in (400.0, 800.0, 1600.0))]
    with pytest.raises(
        ConfigError, match=r"none is given for a mapping on cluster 'cpu', such as --busy-mw cpu="
    ):
        fitted(rows, idle_mw=2000.0, busy_mw={"gpu": 9000.0})
    assert fitted(rows, idle_mw=2000.0, busy_mw={"gpu": 9000.0, "cpu": 5000.0}).profile.power is not None
