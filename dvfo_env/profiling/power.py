"""From windows of measured power, or from watts given by hand, to a profile's power law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar, nnls

from dvfo_env.devices.profile import CorePower, Fit, GpuPower, PowerLaw, PowerTerms, VoltageCurve
from dvfo_env.errors import ConfigError
from dvfo_env.hardware.meters import Meter
from dvfo_env.profiling.plan import Place, Plan
from dvfo_env.profiling.statistics import median
from dvfo_env.schema import Coefficient

Entry = dict[str, Any]

#: Supply voltage rises by at most this much per GHz; beyond it the fit follows noise.
STEEPEST_VOLTAGE_PER_GHZ = 2.0


@dataclass(frozen=True)
class Watts:
    """Power given by hand, in watts: idle, with every CPU core busy, and with the GPU busy."""

    idle: float
    cpu: float
    gpu: float | None = None


def power_by_hand(watts: Watts, plan: Plan, cores: dict[str, int]) -> PowerLaw:
    """A power law from two or three figures, every coefficient `assumed`.

    What the busy cores add to idling is shared out evenly over all of them; it does not follow the clocks.

    Raises:
        ConfigError: a busy figure is not above the idle one, or the GPU's is missing.
    """
    if watts.cpu <= watts.idle:
        raise ConfigError(f"--cpu-watts: {watts.cpu:g} must be above --idle-watts {watts.idle:g}")
    uses_gpu = any(place.kind == "gpu" for place in plan.places)
    if uses_gpu and watts.gpu is None:
        raise ConfigError("--gpu-watts: is missing; this machine has a GPU mapping")
    all_cores = cores.get("all", sum(cores.values()))
    core_mw = (watts.cpu - watts.idle) * 1000.0 / all_cores

    def assumed(value: float, option: str, note: str) -> Coefficient:
        return Coefficient(
            value=value,
            unit="mW",
            evidence="assumed",
            source=f"given by hand: {option}",
            range=(0.7 * value, 1.3 * value),
            note=note,
        )

    core = assumed(core_mw, "--cpu-watts less --idle-watts", f"shared out evenly over {all_cores} cores")
    gpu = None
    if uses_gpu and watts.gpu is not None:
        busy = max(0.0, (watts.gpu - watts.idle) * 1000.0 - core_mw)
        gpu = GpuPower(busy_mw=assumed(busy, "--gpu-watts less --idle-watts", "less one busy core"))
    terms = PowerTerms(
        base_mw=assumed(watts.idle * 1000.0, "--idle-watts", "range: 30 % either way"),
        cores={name: CorePower(core_mw=core) for name in cores},
        gpu=gpu,
        fit=Fit(points=0, conditions="watts given by hand; nothing measured"),
    )
    return PowerLaw(meter="none", board=terms)


def power_measured(
    plan: Plan, meters: Sequence[Meter], entries: Sequence[Entry], cores: dict[str, int]
) -> PowerLaw | None:
    """Fit a power law to the log's windows; None where no meter gave a figure.

    The widest meter that gave figures stands for the board, and says so where it sees less than that; rails
    are kept beside it where another meter saw the board.
    """
    usable = [meter for meter in meters if _windows(entries, meter.name, "busy")]
    if not usable:
        return None
    board = usable[0]
    rails = next((meter for meter in usable[1:] if meter.scope != "board"), None)
    return PowerLaw(
        board=_terms(plan, board, entries, cores),
        rails=_terms(plan, rails, entries, cores) if rails is not None and board.scope == "board" else None,
        cpu_voltage=_voltage(plan, board, entries),
    )


def _windows(entries: Sequence[Entry], meter: str, state: str) -> list[Entry]:
    return [
        entry
        for entry in entries
        if entry.get("kind") == "power"
        and entry["state"] == state
        and entry["power_mw"].get(meter) is not None
    ]


def _idle_mw(entries: Sequence[Entry], meter: str, clocks: Sequence[float] | None = None) -> float:
    """Median idle power at some clocks, or over all of them."""
    windows = _windows(entries, meter, "idle")
    chosen = [entry for entry in windows if clocks is None or list(entry["clocks"]) == list(clocks)]
    return median([entry["power_mw"][meter] for entry in chosen or windows])


def _added_mw(
    plan: Plan, entries: Sequence[Entry], meter: str, place: Place
) -> dict[tuple[float, ...], float]:
    """What a busy place adds to idling, by clocks: medians of windows."""
    found: dict[tuple[float, ...], list[float]] = {}
    for entry in _windows(entries, meter, "busy"):
        if entry["place"] == place.name:
            found.setdefault(tuple(entry["clocks"]), []).append(entry["power_mw"][meter])
    return {
        clocks: max(0.0, median(values) - _idle_mw(entries, meter, clocks))
        for clocks, values in found.items()
    }


def _top(plan: Plan) -> tuple[float, ...]:
    return tuple(axis[-1] if axis else 0.0 for axis in plan.axes)


def _terms(plan: Plan, meter: Meter, entries: Sequence[Entry], cores: dict[str, int]) -> PowerTerms:
    top = _top(plan)
    memory = plan.axes[2]
    idle = _idle_mw(entries, meter.name, (*top[:2], memory[0]) if memory else top)
    sees = {
        "board": "the whole board",
        "package": "the processor package only, not the rest of the board",
        "rails": "the compute rails only, not the rest of the board",
    }[meter.scope]
    source = f"dvfo profile on this machine, {meter.name}"
    reference = plan.axes[0][-1] if len(plan.axes[0]) > 1 else None
    clusters: dict[str, CorePower] = {}
    errors: list[float] = []
    for cluster in cores:
        rows = [
            (len(place.cpus), _added_mw(plan, entries, meter.name, place).get(top))
            for place in plan.places
            if place.kind == "cpu" and place.cluster == cluster
        ]
        known = [(threads, added) for threads, added in rows if added is not None]
        if known:
            clusters[cluster], misses = _cores(known, source, reference)
            errors += misses
    missing = {place.cluster for place in plan.places} - set(clusters)
    for cluster in sorted(
        missing
    ):  # a mapping chosen with --mappings may leave a GPU's driver without a figure
        clusters[cluster] = CorePower(core_mw=_unknown_core(clusters, source))
    base = Coefficient(
        value=idle,
        unit="mW",
        evidence="measured",
        source=source,
        note=f"median of idle windows, lowest memory clock, others highest; {sees}",
    )
    return PowerTerms(
        base_mw=base,
        mem_idle_mw=_memory_steps(plan, meter, entries, source),
        cores=clusters,
        gpu=_gpu(plan, meter, entries, clusters, source),
        fit=Fit(
            points=len(_windows(entries, meter.name, "busy")),
            conditions=f"{meter.name}: {sees}; windows of {meter.window_s:g} s, whole network back to back",
            error_percent=sum(errors) / len(errors) if errors else None,
        ),
    )


def _cores(
    rows: Sequence[tuple[int, float]], source: str, reference: float | None
) -> tuple[CorePower, list[float]]:
    """Power of the first core and of every core from what n busy ones add; relative misses in percent."""
    threads: NDArray[np.float64] = np.array([count for count, _ in rows], dtype=np.float64)
    added: NDArray[np.float64] = np.array([value for _, value in rows], dtype=np.float64)
    several = len(set(threads.tolist())) > 1
    columns = np.stack([np.ones_like(threads), threads], axis=1) if several else threads[:, None]
    solution, _ = nnls(columns, added)
    misses = [
        100.0 * abs(float(predicted) - value) / value
        for predicted, value in zip(columns @ solution, added.tolist(), strict=True)
        if value > 0.0
    ]
    error = sum(misses) / len(misses) if misses else None
    counts = ", ".join(f"{count:g}" for count in sorted(set(threads.tolist())))

    def fitted(value: float) -> Coefficient:
        return Coefficient(
            value=value,
            unit="mW",
            evidence="fitted" if several else "measured",
            source=source,
            error_percent=error,
            note=f"from {counts} busy threads, less idle",
        )

    return (
        CorePower(
            core_mw=fitted(float(solution[-1])),
            cluster_mw=fitted(float(solution[0])) if several else None,
            reference_mhz=reference,
        ),
        misses,
    )


def _unknown_core(clusters: dict[str, CorePower], source: str) -> Coefficient:
    largest = max((power.core_mw.value for power in clusters.values()), default=0.0)
    return Coefficient(
        value=largest,
        unit="mW",
        evidence="assumed",
        source=source,
        range=(0.0, 2.0 * largest),
        note="no mapping of this cluster was measured; the largest of the others",
    )


def _memory_steps(
    plan: Plan, meter: Meter, entries: Sequence[Entry], source: str
) -> tuple[Coefficient, ...] | None:
    memory = plan.axes[2]
    if len(memory) < 2:
        return None
    top = _top(plan)
    levels = [_idle_mw(entries, meter.name, (*top[:2], mhz)) for mhz in memory]
    return tuple(
        Coefficient(value=level - levels[0], unit="mW", evidence="measured", source=source)
        for level in levels
    )


def _gpu(
    plan: Plan, meter: Meter, entries: Sequence[Entry], clusters: dict[str, CorePower], source: str
) -> GpuPower | None:
    places = [place for place in plan.places if place.kind == "gpu"]
    if not places:
        return None
    top = _top(plan)
    added = [_added_mw(plan, entries, meter.name, place).get(top) for place in places]
    known = [value for value in added if value is not None]
    driver = clusters[places[0].cluster]
    core = driver.core_mw.value + (driver.cluster_mw.value if driver.cluster_mw else 0.0)
    busy = max(0.0, (median(known) if known else 0.0) - core)
    note = "busy GPU less idle, less one busy core"
    return GpuPower(
        busy_mw=Coefficient(value=busy, unit="mW", evidence="measured", source=source, note=note),
        reference_mhz=plan.axes[1][-1] if len(plan.axes[1]) > 1 else None,
    )


def _voltage(plan: Plan, meter: Meter, entries: Sequence[Entry]) -> VoltageCurve | None:
    """Slope of the supply voltage over the CPU clock, from how what a busy place adds falls with the clock.

    added(f) / added(f_top) = f V(f)^2 / (f_top V(f_top)^2), V = 1 + slope (f - lowest f). Needs three clocks.
    """
    cpu = plan.axes[0]
    if len(cpu) < 3:
        return None
    top = _top(plan)
    ratios: list[tuple[float, float]] = []
    for place in plan.places:
        added = _added_mw(plan, entries, meter.name, place) if place.kind == "cpu" else {}
        if added.get(top):
            ratios += [(mhz, added[mhz, *top[1:]] / added[top]) for mhz in cpu if (mhz, *top[1:]) in added]
    if not ratios:
        return None
    ghz = np.array([mhz for mhz, _ in ratios]) / 1000.0
    measured = np.array([ratio for _, ratio in ratios])
    knee, fastest = cpu[0] / 1000.0, cpu[-1] / 1000.0

    def predicted(slope: float) -> NDArray[np.float64]:
        voltage = 1.0 + slope * (ghz - knee)
        return np.asarray(ghz * voltage**2 / (fastest * (1.0 + slope * (fastest - knee)) ** 2))

    best = minimize_scalar(
        lambda slope: float(np.sum((predicted(slope) - measured) ** 2)),
        bounds=(0.0, STEEPEST_VOLTAGE_PER_GHZ),
        method="bounded",
    )
    error = 100.0 * float(np.mean(np.abs(predicted(best.x) / measured - 1.0)))
    source = f"dvfo profile on this machine, {meter.name}"
    return VoltageCurve(
        knee_ghz=Coefficient(
            value=knee,
            unit="GHz",
            evidence="assumed",
            source=source,
            range=(knee, fastest),
            note="the lowest clock measured; the slope is fitted from there",
        ),
        slope_per_ghz=Coefficient(
            value=float(best.x),
            unit="1/GHz",
            evidence="fitted",
            source=source,
            error_percent=error,
            note=f"from {len(ratios)} ratios of busy power over the CPU clock",
        ),
    )
