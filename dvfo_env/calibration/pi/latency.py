"""From the ncnn tables' times at one clock to the Pis' latency on 1, 2 and 4 cores at every clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dvfo_env.calibration.ncnn_tables import NEAREST_NETWORKS, BenchRow, network_latency, select_run
from dvfo_env.calibration.pi.boards import Board, TwoCores
from dvfo_env.calibration.pi.pose import PoseLaw, pose_source
from dvfo_env.devices.profile import Anchor, ClockLaw, Fit
from dvfo_env.devices.profile import Mapping as CoreMapping
from dvfo_env.schema import Coefficient

Runs = Mapping[int, Mapping[str, BenchRow]]
"""Number of threads -> network -> result line."""
_THREADS = (1, 2, 4)
_TITLES = {1: "one core", 2: "two cores", 4: "all four cores"}
_BLIND_SDRAM_GHZ = 1.0
"""Where a law does not depend on the SDRAM clock any value serves."""


def core_mappings(cluster: str) -> dict[str, CoreMapping]:
    """One, two or all four cores of the one cluster."""
    return {
        f"cpu{n}": CoreMapping(kind="cpu", cluster=cluster, threads=n, title=_TITLES[n]) for n in _THREADS
    }


def times_by_threads(
    board: Board, runs: Runs, tables: list[BenchRow], workload: str
) -> dict[int, Coefficient]:
    """Whole-network time at the tables' clock with 1, 2 and 4 threads; two by Amdahl's law."""
    one, four = network_latency(runs[1], workload), network_latency(runs[4], workload)
    return {
        1: one,
        2: two_threads(one, four, two_thread_bound(board.two_cores, tables, workload, runs[4])),
        4: four,
    }


def two_thread_bound(
    other: TwoCores, tables: list[BenchRow], workload: str, run: Mapping[str, BenchRow]
) -> tuple[TwoCores, float] | None:
    """The other board's time on two threads relative to its time on `other` threads, same network."""
    nearest = next(name for name in NEAREST_NETWORKS[workload] if name in run)
    both = [
        select_run(tables, other.heading, threads=n, power_save=other.power_save) for n in (2, other.other)
    ]
    if any(nearest not in found for found in both):
        return None
    return other, both[0][nearest].avg_ms / both[1][nearest].avg_ms


def two_threads(one: Coefficient, four: Coefficient, bound: tuple[TwoCores, float] | None) -> Coefficient:
    """Time on two threads by Amdahl's law, its range from what another board with the same core gained."""
    ones, fours = one.range or (one.value, one.value), four.range or (four.value, four.value)
    value = round((one.value + 2.0 * four.value) / 3.0, 3)
    low, high = ones[0] / 2.0, (ones[1] * fours[1]) ** 0.5
    reason = "perfect scaling"
    if bound is not None and bound[0].other == 1:
        low, reason = ones[0] * bound[1], f"two of {bound[0].title} cores gain {1 / bound[1]:.2f}"
    elif bound is not None:
        high = max(high, fours[1] * bound[1])
        reason += f", {bound[0].title} cores (two take {bound[1]:.2f} times four's time)"
    return Coefficient(
        value=value,
        unit="ms",
        evidence="assumed",
        source=one.source,
        range=(round(min(low, value), 3), round(max(high, value), 3)),
        note=f"Amdahl's law through 1 and 4 threads; range: {reason}, a power law through 1 and 4 threads",
    )


def of_the_twin(
    board: Board, own: PoseLaw, twin: PoseLaw, times: Mapping[int, Coefficient]
) -> dict[int, Coefficient]:
    """The twin board's times, corrected by the pose network's at the same clocks; all assumed."""
    ghz, sdram = board.table_mhz / 1000.0, (board.sdram_mhz or 1000.0) / 1000.0
    found = {}
    for n, total in times.items():
        ratio = own.latency_ms(n, ghz, sdram) / twin.latency_ms(n, ghz, sdram)
        low, high = total.range or (total.value, total.value)
        reason = (
            f"the Zero 2 W's {total.value:g} ms times the pose network's ratio of the boards, {ratio:.3f}"
        )
        spread = max(abs(ratio - 1.0), own.holdout_error_percent / 100.0)
        found[n] = Coefficient(
            value=round(total.value * ratio, 3),
            unit="ms",
            evidence="assumed",
            source=f"{total.source}; {pose_source(board.pose)}",
            range=(round(low * ratio * (1.0 - spread), 3), round(high * ratio * (1.0 + spread), 3)),
            note="; ".join(filter(None, (reason, total.note))),
        )
    return found


def clock_law(board: Board, total: Coefficient, threads: int, law: PoseLaw) -> ClockLaw:
    """Split a time at the tables' clock into what follows the CPU clock, the SDRAM clock and nothing."""
    ghz = board.table_mhz / 1000.0
    sdram = (board.sdram_mhz or 1000.0 * _BLIND_SDRAM_GHZ) / 1000.0
    part = law.shares(threads, ghz, sdram)
    low, high = total.range or (total.value, total.value)
    measured = total.evidence == "measured"
    source = f"{total.source}; {pose_source(board.pose)}"
    borrowed = f"share of the pose network ({part.fixed:.3f} of the time at {ghz:g} GHz)"
    fixed_note = f"{borrowed}, whose time also holds capture and drawing; range: from none to that share"
    moving_note = f"from the time at {ghz:g} GHz; errors: the pose network's"
    memory_note = f"share of the pose network ({part.memory:.3f} of the time at {sdram:g} GHz SDRAM)"

    def joined(note: str) -> str:
        return "; ".join(filter(None, (note, total.note)))

    memory = None
    if law.mem_ms_ghz > 0.0:
        memory = Coefficient(
            value=round(total.value * part.memory * sdram, 3),
            unit="ms GHz",
            evidence="assumed",
            source=source,
            range=(0.0, round(2.0 * high * part.memory * sdram, 3)),
            note=joined(f"{memory_note}; range: from none to twice that"),
        )
    return ClockLaw(
        t0_ms=Coefficient(
            value=round(total.value * part.fixed, 3),
            unit="ms",
            evidence="assumed",
            source=source,
            range=(0.0, round(high * part.fixed, 3)),
            note=joined(fixed_note),
        ),
        cpu_ms_ghz=Coefficient(
            value=round(total.value * part.cpu * ghz, 3),
            unit="ms GHz",
            evidence="fitted" if measured else "assumed",
            source=source,
            error_percent=law.error_percent if measured else None,
            holdout_error_percent=law.holdout_error_percent if measured else None,
            range=(round(low * part.cpu * ghz, 3), round(high * ghz, 3)),
            note=joined(moving_note),
        ),
        mem_ms_ghz=memory,
        split_note="the fixed part is split by operations, the rest by FLOPs; no layer was timed: assumed",
        anchor=Anchor(latency=total, cpu_mhz=board.table_mhz, mem_mhz=board.sdram_mhz) if measured else None,
        fit=pose_fit(law).model_copy(
            update={"conditions": f"{law.scope}; scaled to this network's time at {ghz:g} GHz"}
        ),
    )


def pose_fit(law: PoseLaw) -> Fit:
    """Points and errors of the pose network's law."""
    return Fit(
        points=law.points,
        conditions=law.scope,
        error_percent=law.error_percent,
        holdout_error_percent=law.holdout_error_percent,
        holdout_worst_percent=law.holdout_worst_percent,
        holdout_method=law.holdout_method,
    )


def time_row(device: str, workload: str, mapping: str, total: Coefficient, mhz: float) -> dict[str, Any]:
    """Report row: one network's time on one mapping at the clock (MHz) of the tables."""
    low, high = total.range or (total.value, total.value)
    return {
        "device": device,
        "workload": workload,
        "mapping": mapping,
        "at_mhz": mhz,
        "latency_ms": total.value,
        "low_ms": low,
        "high_ms": high,
        "evidence": total.evidence,
    }
