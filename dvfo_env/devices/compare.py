"""Devices side by side for one network: out of the box, at their best, and their latency-energy fronts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.devices.card import latency_evidence, power_evidence
from dvfo_env.devices.model import DeviceModel
from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.errors import ConfigError
from dvfo_env.whole_file import whole_file

Array = NDArray[np.float64]


class Front(NamedTuple):
    """Settings of one device that no other setting beats in latency (ms) and board energy (mJ) together.

    `latency_ms` ascends, `energy_mj` falls; `mapping` names each point's. `out_of_the_box` is (ms, mJ) at the
    highest clocks on the mapping the device uses untouched.
    """

    device: str
    title: str
    power: str
    latency_ms: Array
    energy_mj: Array
    mapping: tuple[str, ...]
    out_of_the_box: tuple[float, float]


def compare(profiles: list[DeviceProfile], workload: str) -> tuple[list[dict[str, Any]], list[Front]]:
    """One row and one front per device that knows the network, fastest first, everything run locally.

    A row holds device, mapping, latency_ms, power_mw, energy_mj (out of the box), fastest_ms, least_mj,
    least_mj_ms (the latency there), latency (its evidence) and power (where it was read). Power and energy
    are None, and there is no front, where the profile is latency only.

    Raises:
        ConfigError: an unknown workload, or none of the devices knows it.
    """
    from dvfo_env.workloads import load_workload

    card = load_workload(workload)
    rows, fronts = [], []
    for profile in profiles:
        if workload not in profile.latency:
            continue
        model = DeviceModel(profile, card)
        mapping = model.mappings[0]
        grid = (model.cpu_mhz, model.gpu_mhz, model.mem_mhz)
        latency = {name: model.head_latency_ms(name, *grid)[-1] for name in model.mappings}
        front = None
        if profile.power is not None:
            energy = {name: model.head_energy_mj(name, *grid, "board")[-1] for name in model.mappings}
            front = _front(profile, latency, energy, mapping)
            fronts.append(front)
        out_ms = float(latency[mapping][-1, -1, -1])
        rows.append(
            {
                "device": profile.name,
                "mapping": mapping,
                "latency_ms": out_ms,
                "power_mw": 1000.0 * front.out_of_the_box[1] / out_ms if front else None,
                "energy_mj": front.out_of_the_box[1] if front else None,
                "fastest_ms": min(float(times.min()) for times in latency.values()),
                "least_mj": float(front.energy_mj[-1]) if front else None,
                "least_mj_ms": float(front.latency_ms[-1]) if front else None,
                "latency": latency_evidence(profile, workload, mapping),
                "power": power_evidence(profile),
            }
        )
    if not rows:
        raise ConfigError(f"workload {workload!r}: none of {', '.join(p.name for p in profiles)} knows it")
    return sorted(rows, key=lambda row: float(row["latency_ms"])), fronts


def _front(profile: DeviceProfile, latency: dict[str, Array], energy: dict[str, Array], first: str) -> Front:
    names = list(latency)
    time = np.concatenate([latency[name].ravel() for name in names])
    mj = np.concatenate([energy[name].ravel() for name in names])
    of = np.concatenate([np.full(latency[name].size, index) for index, name in enumerate(names)])
    order = np.lexsort((mj, time))
    lowest = np.minimum.accumulate(mj[order])
    keep = order[np.concatenate([[True], lowest[1:] < lowest[:-1]])]
    top = (float(latency[first][-1, -1, -1]), float(energy[first][-1, -1, -1]))
    mapping = tuple(names[index] for index in of[keep])
    return Front(profile.name, profile.title, power_evidence(profile), time[keep], mj[keep], mapping, top)


def plot_fronts(fronts: list[Front], workload: str, path: Path | str) -> Path:
    """Draw the fronts on logarithmic axes; a dot is the device out of the box, dashed lines assume power.

    Raises:
        ConfigError: no front to draw, an ending that is no picture's, or the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not fronts:
        raise ConfigError(f"workload {workload!r}: no device here has power, so there is no energy to draw")
    figure = Figure(figsize=(10.0, 6.4), layout="constrained")
    axes = figure.add_subplot()
    colours = matplotlib.colormaps["tab10"]
    for index, front in enumerate(sorted(fronts, key=lambda front: float(front.latency_ms[0]))):
        colour, known = colours(index % 10), front.power != "assumed"
        # a front of one setting is a diamond: a line of one point shows nothing
        axes.plot(
            front.latency_ms,
            front.energy_mj,
            "-" if known else "--",
            color=colour,
            marker="D" if len(front.latency_ms) == 1 else None,
            markersize=9,
            markerfacecolor=colour if known else "none",
            linewidth=2.0,
        )
        start = (front.latency_ms[0], front.energy_mj[0])
        axes.plot(*zip(front.out_of_the_box, start, strict=True), ":", color=colour, linewidth=1.0)
        axes.plot(*front.out_of_the_box, "o", color=colour, markersize=5)
        axes.annotate(
            front.device, front.out_of_the_box, (0, 8), textcoords="offset points", ha="center", fontsize=8,
            color=colour,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="latency, ms", ylabel="energy of the board, mJ")
    axes.margins(x=0.09, y=0.07)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
    title = f"{workload}, all local: the best of each device's mappings and clocks"
    axes.set_title(title, loc="left", fontsize=11, pad=22)
    notes = "dot: out of the box, diamond: the only setting on its front; dashed or hollow: power is assumed"
    axes.text(0.0, 1.012, notes, transform=axes.transAxes, fontsize=9, color="0.35", va="bottom")
    axes.grid(visible=True, which="both", linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    try:
        with whole_file(path) as file:
            figure.savefig(file, dpi=130)
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from None
    return Path(path)
