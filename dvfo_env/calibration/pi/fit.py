"""From raw measurements to the Raspberry Pi profiles: 2B, 3B+, 4B, 5 and Zero 2 W.

Whole-network times come from the ncnn tables at each board's top clock, how they follow the clocks from a
pose network timed on the same board, the Pi 5's power from its core rail. What nobody measured is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvfo_env.calibration.encoder import encoder
from dvfo_env.calibration.ncnn_tables import (
    SCALING,
    BenchRow,
    read_ncnn_tables,
    scaling_fit,
    select_run,
    workloads_of,
)
from dvfo_env.calibration.pi.boards import BOARDS, Board
from dvfo_env.calibration.pi.latency import (
    clock_law,
    core_mappings,
    of_the_twin,
    pose_fit,
    time_row,
    times_by_threads,
)
from dvfo_env.calibration.pi.parts import board_power, clock_domain, memory_domain
from dvfo_env.calibration.pi.pi5 import calibrate_pi5
from dvfo_env.calibration.pi.pose import (
    PoseLaw,
    PoseRows,
    fit_cpu_law,
    fit_pose_law,
    pose_source,
    read_pose_rows,
    repeat_spread_percent,
)
from dvfo_env.calibration.pi.power import fit_a15_voltage, fit_core_share
from dvfo_env.calibration.pinned import pinned_pi5
from dvfo_env.devices.profile import DeviceProfile, Law

_DELAY_NOTE = "a firmware call and a voltage step; no source times it on this board"


def calibrate_pis(measurements: Path) -> tuple[list[DeviceProfile], list[dict[str, Any]]]:
    """Build the profiles of the Raspberry Pis from a folder of raw measurements.

    Returns the profiles and three kinds of report rows: the clock law of each board's pose network with its
    errors; the power laws; and the time of each network, board and mapping at the clock of the tables.

    Raises:
        MeasurementError: a raw file is missing, unreadable or too small.
    """
    tables = read_ncnn_tables(measurements)
    share, voltage = fit_core_share(measurements), fit_a15_voltage(measurements)
    laws, reports = {}, []
    for board in BOARDS:
        rows = read_pose_rows(measurements, board.pose)
        laws[board.name], fitted = _pose_law(board, rows)
        reports.append(_pose_row(board, laws[board.name], fitted))
    profiles = []
    for board in BOARDS:
        profile, found = _profile(
            board, laws, tables, board_power(board.cluster, board.power, share, *voltage)
        )
        profiles.append(profile)
        reports += found
    fifth, found = calibrate_pi5(measurements, tables, share)
    profiles += [fifth, pinned_pi5(fifth)]
    return sorted(profiles, key=lambda profile: profile.name), reports + found


def _pose_law(board: Board, rows: PoseRows) -> tuple[PoseLaw, PoseRows]:
    """The board's clock law and the rows it was fitted to."""
    if board.four_cores_up_to_mhz is None:
        return fit_pose_law(rows, "pose network on 1, 2 and 4 cores at every clock pair"), rows
    top = board.four_cores_up_to_mhz / 1000.0
    four = rows.where(rows.cores == 4)
    scope = f"pose network on four cores, 0.6 to {top:.1f} GHz"
    if board.sdram_mhz is None:
        return fit_cpu_law(four, top, scope), four.where(four.cpu_ghz <= top + 1e-9)
    cool = four.where(four.cpu_ghz <= top + 1e-9)
    return fit_pose_law(cool, f"{scope}, every SDRAM clock"), cool


def _profile(
    board: Board, laws: Mapping[str, PoseLaw], tables: list[BenchRow], power: Any
) -> tuple[DeviceProfile, list[dict[str, Any]]]:
    law = laws[board.name]
    runs = {n: select_run(tables, board.heading, threads=n) for n in (1, 4)}
    times = {
        workload: times_by_threads(board, runs, tables, workload) for workload in workloads_of(*runs.values())
    }
    if board.stands_in:
        times = {w: of_the_twin(board, law, laws[board.stands_in], by) for w, by in times.items()}
    latency: dict[str, dict[str, Law]] = {
        workload: {f"cpu{n}": clock_law(board, total, n, law) for n, total in by_threads.items()}
        for workload, by_threads in times.items()
    }
    encoding = encoder(board.name, runs[1])
    profile = DeviceProfile(
        name=board.name,
        title=board.title,
        description=board.description,
        cores={board.cluster: 4},
        cpu=clock_domain(board.cpu_mhz, pose_source(board.pose), _DELAY_NOTE),
        memory=memory_domain(board.sdram_mhz, pose_source(board.pose)) if board.sdram_mhz else None,
        mappings=core_mappings(board.cluster),
        out_of_the_box="cpu4",
        inference={workload: "ncnn, fp32, batch 1" for workload in times},
        latency=latency,
        power=power,
        thermal=board.thermal,
        supporting={"pose-network": pose_fit(law)}
        | ({} if board.stands_in else {SCALING: scaling_fit(runs.values())})
        | encoding.supporting(),
        encoder_ms_ghz=encoding.coefficient,
    )
    rows = [
        time_row(board.name, w, f"cpu{n}", t, board.table_mhz)
        for w, by in times.items()
        for n, t in by.items()
    ]
    return profile, rows


def _pose_row(board: Board, law: PoseLaw, rows: PoseRows) -> dict[str, Any]:
    return {
        "device": board.name,
        "t0_ms": round(law.t0_ms, 1),
        "cpu_ms_ghz": round(law.cpu_ms_ghz, 1),
        "core_exponent": round(law.core_exponent, 3),
        "mem_ms_ghz": round(law.mem_ms_ghz, 1),
        "points": law.points,
        "error_percent": law.error_percent,
        "holdout_error_percent": law.holdout_error_percent,
        "holdout_worst_percent": law.holdout_worst_percent,
        "repeat_spread_percent": repeat_spread_percent(rows),
        "by_cores_percent": ", ".join(f"{n}: {error:g}" for n, error in law.cores_percent.items()),
    }
