"""A power law from watts given by hand, every figure labelled assumed: for boards that nothing measures."""

from __future__ import annotations

from collections.abc import Mapping

from dvfo_env.calibration.own.board import Board
from dvfo_env.devices.profile import CorePower, Fit, GpuPower, Meter, PowerLaw, PowerTerms
from dvfo_env.devices.profile import Mapping as DeviceMapping
from dvfo_env.errors import ConfigError
from dvfo_env.schema import Coefficient

HOST_SHARE = 0.1
"""Part of the power a GPU adds that its driving core takes, where no CPU mapping says: TX2, 1 of 9-12 W."""
SPREAD = 0.25
"""Range of a figure given by hand: a quarter either way."""


def power_by_hand(
    idle_mw: float | None,
    busy_mw: Mapping[str, float],
    places: Mapping[str, DeviceMapping],
    board: Board,
    meter: Meter,
) -> PowerLaw:
    """Board power from the waiting board and the busy board (mW) by mapping, at the highest clocks.

    Raises:
        ConfigError: idle power is missing, a mapping is unknown, a cluster or the GPU has mappings and no
            watts, or busy is not above idle.
    """
    if idle_mw is None:
        raise ConfigError("busy power by hand needs the waiting board's too (--idle-mw)")
    for name, busy in busy_mw.items():
        if name not in places:
            raise ConfigError(f"busy power of {name!r}: expected one of the mappings {', '.join(places)}")
        if not busy > idle_mw:
            raise ConfigError(f"busy power of {name!r}: {busy:g} mW is not above idle, {idle_mw:g} mW")
    on_gpu = {name: mw for name, mw in busy_mw.items() if places[name].kind == "gpu"}
    on_cpu = {name: mw for name, mw in busy_mw.items() if places[name].kind == "cpu"}
    if any(place.kind == "gpu" for place in places.values()) and not on_gpu:
        raise ConfigError("busy power by hand: none is given for a mapping on the GPU")
    cores = {}
    for cluster in dict.fromkeys(place.cluster for place in places.values()):
        here = [name for name, place in places.items() if (place.cluster, place.kind) == (cluster, "cpu")]
        each = [
            (mw - idle_mw) / places[name].threads
            for name, mw in on_cpu.items()
            if places[name].cluster == cluster
        ]
        if here and not each:
            raise ConfigError(
                f"busy power by hand: none is given for a mapping on cluster {cluster!r}, such as "
                f"--busy-mw {here[0]}=MW"
            )
        core = max(each) if each else HOST_SHARE * (max(on_gpu.values()) - idle_mw)
        note = "busy minus idle, by the cores" if each else "a tenth of what the GPU adds, as on a Jetson TX2"
        cores[cluster] = CorePower(
            core_mw=_hand(core, note), reference_mhz=board.cpu_mhz[-1] if board.cpu_mhz else None
        )
    gpu = None
    if on_gpu:
        name, busy = max(on_gpu.items(), key=lambda item: item[1])
        host = cores[places[name].cluster].core_mw.value * places[name].threads
        gpu = GpuPower(
            busy_mw=_hand(max(busy - idle_mw - host, 0.0), "busy minus idle and the core that drives it"),
            reference_mhz=board.gpu_mhz[-1] if board.gpu_mhz else None,
        )
    terms = PowerTerms(
        base_mw=_hand(idle_mw, "the waiting board"),
        cores=cores,
        gpu=gpu,
        fit=Fit(points=0, conditions="watts given by hand: nothing was measured"),
    )
    return PowerLaw(meter=meter, board=terms)


def _hand(value: float, note: str) -> Coefficient:
    return Coefficient(
        value=value,
        unit="mW",
        evidence="assumed",
        source="given by hand",
        range=((1.0 - SPREAD) * value, (1.0 + SPREAD) * value),
        note=note,
    )
