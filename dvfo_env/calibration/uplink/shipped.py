"""How every shipped uplink model is made from the published measurements: the catalogue, and who lends
what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvfo_env.calibration.uplink import readers
from dvfo_env.errors import MeasurementError
from dvfo_env.schema import Coefficient
from dvfo_env.uplinks.fit import Direction, fitted_model
from dvfo_env.uplinks.interface import RadioPower
from dvfo_env.uplinks.model import Provenance, RoundTripProcess, UplinkModel
from dvfo_env.uplinks.radio import (
    PowerLaw,
    assumed_wifi_radio,
    fit_power_law,
    implied_base_mw,
    measured_radio,
    relabelled,
)
from dvfo_env.uplinks.synthetic import bounded_walk
from dvfo_env.uplinks.traces import Trace
from dvfo_env.uplinks.yaml_file import write_model

RTT_PROBABILITIES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0)
PING_SPACING_MS = 100.0
"""The ping files carry no times; runs of 15 s hold about 149 pings, so ten a second."""


class DataSet(NamedTuple):
    """One published collection: its folder among the measurements, where it comes from, and what to cite."""

    folder: str
    repository: str
    commit: str
    cite: str

    def source(self, files: str) -> str:
        """One line that names repository, commit and files."""
        return f"{self.repository} {self.commit[:12]} {files}"


NUWINS = DataSet(
    "net-nuwins-mmwave-uplink",
    "NUWiNS/sigcomm-5gmemu-5g-mmWave-uplink-data",
    "255526a8b067347377016e825090c02ff0fa1315",
    "Ghoshal et al., 5G-MeMU 2022",
)
MAHIMAHI = DataSet(
    "net-mahimahi-lte",
    "ravinet/mahimahi",
    "ae477d437615b972217498ba52be07db17a15618",
    "Winstein et al., NSDI 2013; Netravali et al., USENIX ATC 2015",
)
STARLINK = DataSet(
    "net-starlink-vs-cellular",
    "Starlink-Project/Satellite-vs-Cellular",
    "79f9412cf6888de1b44a87576c308a9f26539169",
    "Starlink-Project/Satellite-vs-Cellular, UDP throughput while driving, 2023",
)
COLLECTION = DataSet(
    "net-merina-hsdpa-oboe-fcc-puffer",
    "confiwent/Real-world-bandwidth-traces",
    "d28c4fd48d0e358db024cc0217b111c070815fa7",
    "Riiser et al., MMSys 2013",
)
WIFI = DataSet(
    "net-wifi-mptraces", "aydini/MP-Traces", "f0ea75bdde0c59501b22e0c8e879ba584d485333", "aydini/MP-Traces"
)
LUMOS = DataSet(
    "net-sigcomm21-lumos5g-radiopower",
    "SIGCOMM21-5G/artifact",
    "35aaf2857550c7f4c736fe9b01e894253a777e4e",
    "Narayanan et al., SIGCOMM 2021",
)


class ShippedUplink(NamedTuple):
    """How one shipped model is made: its traces, and who lends round-trip times, answer rate and radio
    power.
    """

    title: str
    direction: Direction
    data: DataSet
    files: str
    read: Callable[[Path], list[Trace]]
    rtt: str
    downlink: str
    radio: str
    notes: tuple[str, ...] = ()


def _nuwins(motion: str, technology: str) -> Callable[[Path], list[Trace]]:
    return lambda folder: readers.nuwins_throughput(folder, motion, technology)


def _mahimahi(file: str, step_ms: float) -> Callable[[Path], list[Trace]]:
    return lambda folder: readers.mahimahi(folder, file, step_ms)


_FIRST_PAIR = (
    "Where a run holds two unlabelled series only the first is used: the second has times that go "
    "back and never passes 66 Mbit/s, the ceiling of LTE."
)
_SHORT = "Recordings of about 15 s: that one stays at a place for 2 minutes is assumed."
_DOWN = "Downlink rates used as an uplink: a real uplink of this kind is slower."
_ONE = "One recording: there is no series to hold back."

SHIPPED: dict[str, ShippedUplink] = {
    "5g-mmwave-walking": ShippedUplink(
        "5G mmWave uplink while walking", "uplink", NUWINS, "throughput/walking/5g/*.list",
        _nuwins("walking", "5g"),
        "walking/5g", "5G walking", "mmwave", (_FIRST_PAIR,),
    ),
    "5g-mmwave-driving": ShippedUplink(
        "5G mmWave uplink while driving", "uplink", NUWINS, "throughput/driving/5g/throughput.list",
        _nuwins("driving", "5g"), "driving/5g", "5G driving", "mmwave", (_FIRST_PAIR,),
    ),
    "5g-static": ShippedUplink(
        "5G mmWave uplink standing still", "uplink", NUWINS, "throughput/static/5g/*.list",
        _nuwins("static", "5g"),
        "static/5g", "5G walking", "mmwave", (_SHORT,),
    ),
    "lte-driving": ShippedUplink(
        "LTE uplink while driving", "uplink", NUWINS, "throughput/driving/lte/throughput.list",
        _nuwins("driving", "lte"), "driving/lte", "4G driving", "LTE",
    ),
    "lte-walking": ShippedUplink(
        "LTE uplink while walking", "uplink", NUWINS, "throughput/walking/lte/*.list",
        _nuwins("walking", "lte"),
        "walking/lte", "4G walking", "LTE",
    ),
    "lte-static": ShippedUplink(
        "LTE uplink standing still", "uplink", NUWINS, "throughput/static/lte/*.list",
        _nuwins("static", "lte"),
        "static/lte", "4G walking", "LTE", (_SHORT,),
    ),
    "wifi-campus": ShippedUplink(
        "Campus Wi-Fi while walking (downlink used as uplink)", "downlink used as uplink", WIFI,
        "Traces/*_wifi.csv",
        readers.wifi_campus, "wifi", "own", "wifi", (_DOWN,),
    ),
    "hsdpa": ShippedUplink(
        "3G HSDPA in trams, trains, ferries and cars (downlink used as uplink)", "downlink used as uplink",
        COLLECTION, "cooked_3gp/*", readers.hsdpa, "3g", "own", "3g",
        (_DOWN, "Rows are weighted by the time they last (mean 1.2 Mbit/s); their plain mean would be 1.7."),
    ),
    "att-lte-driving-2016": ShippedUplink(
        "AT&T LTE uplink while driving, 2016", "uplink", MAHIMAHI, "traces/ATT-LTE-driving-2016.up",
        _mahimahi("ATT-LTE-driving-2016.up", 100.0), "lte-other", "ATT-LTE-driving-2016.down", "LTE", (_ONE,),
    ),
    "tmobile-lte": ShippedUplink(
        "T-Mobile LTE uplink", "uplink", MAHIMAHI, "traces/TMobile-LTE-short.up",
        _mahimahi("TMobile-LTE-short.up", 100.0), "lte-other", "TMobile-LTE-short.down", "LTE", (_ONE,),
    ),
    "umts-driving": ShippedUplink(
        "T-Mobile UMTS uplink while driving", "uplink", MAHIMAHI, "traces/TMobile-UMTS-driving.up",
        _mahimahi("TMobile-UMTS-driving.up", 1000.0), "3g", "TMobile-UMTS-driving.down", "3g", (_ONE,),
    ),
    "starlink-driving": ShippedUplink(
        "Starlink uplink while driving", "uplink", STARLINK, "3-Thrpt-Comp/UDP/Uplink/mob_all_area.csv",
        readers.starlink, "starlink", "starlink", "wifi",
        ("The device reaches the satellite terminal over Wi-Fi; the terminal's own power is not counted.",),
    ),
}  # fmt: skip
"""Every shipped model that is fitted to traces; `dvfo-0.5-8` is made by `bounded_walk` instead."""


def calibrate_shipped(
    measurements_dir: Path, out_dir: Path, names: Sequence[str] | None = None
) -> dict[str, UplinkModel]:
    """Rebuild shipped models (all, or `names`) from the published data sets and write them to `out_dir`.

    Raises:
        MeasurementError: a data set is missing or cannot be read, or a name is not a shipped model.
    """
    known = (*SHIPPED, "dvfo-0.5-8")
    models = {}
    for name in known if names is None else names:
        if name not in known:
            raise MeasurementError(f"{name}: not a shipped uplink model; known: {', '.join(sorted(known))}")
        models[name] = (
            _dvfo_range() if name not in SHIPPED else _shipped(name, SHIPPED[name], Path(measurements_dir))
        )
        write_model(models[name], Path(out_dir) / f"{name}.yaml")
    return models


def _shipped(name: str, recipe: ShippedUplink, root: Path) -> UplinkModel:
    traces = recipe.read(root / recipe.data.folder)
    provenance = Provenance(
        repository=recipe.data.repository,
        commit=recipe.data.commit,
        files=(recipe.files,),
        cite=recipe.data.cite,
        series=len(traces),
        seconds=round(sum(trace.duration_ms for trace in traces) / 1e3, 1),
    )
    model = fitted_model(
        name,
        recipe.title,
        recipe.direction,
        traces,
        traces[0].step_ms,
        provenance,
        rtt=_round_trips(recipe.rtt, root),
        downlink_mbps=_downlink(recipe, traces, root),
        radio=_radio(recipe.radio, root),
    )
    return model.model_copy(update={"notes": recipe.notes})


def _round_trips(key: str, root: Path) -> RoundTripProcess:
    """The measured table for "motion/technology", or a stated guess for networks without pings."""
    if "/" in key:
        return _measured_round_trips(key, root)
    driving = _measured_round_trips("driving/lte", root)
    guesses = {
        "lte-other": (1.0, "the LTE driving pings of another operator"),
        "3g": (3.0, "three times the LTE driving pings: 3G radio schedules and wakes up more slowly"),
        "starlink": (
            1.5,
            "one and a half times the LTE driving pings: some 2 x 1100 km of sky, then a ground network",
        ),
        "wifi": (
            0.25,
            "a quarter of the LTE driving pings: one contended radio hop to a server on the same campus",
        ),
    }
    factor, reason = guesses[key]
    return driving.model_copy(
        update={
            "quantiles_ms": tuple(round(factor * value, 2) for value in driving.quantiles_ms),
            "evidence": "assumed",
            "note": f"{reason}; no ping was recorded with these traces",
        }
    )


def _measured_round_trips(key: str, root: Path) -> RoundTripProcess:
    motion, technology = key.split("/")
    runs = readers.nuwins_pings(root / NUWINS.folder, motion, technology)
    pooled = np.concatenate(runs)
    ranks = np.argsort(np.argsort(pooled)) / len(pooled)
    starts = np.cumsum([0] + [len(run) for run in runs])
    pairs = [(ranks[a : b - 1], ranks[a + 1 : b]) for a, b in pairwise(starts)]
    before, after = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return RoundTripProcess(
        probabilities=RTT_PROBABILITIES,
        quantiles_ms=tuple(round(float(value), 2) for value in np.quantile(pooled, RTT_PROBABILITIES)),
        autocorrelation=round(float(np.clip(np.corrcoef(before, after)[0, 1], 0.0, 0.99)), 3),
        spacing_ms=PING_SPACING_MS,
        evidence="measured",
        source=NUWINS.source(f"ping/{motion}/{technology}"),
        note=f"{len(pooled)} pings; spacing inferred from their number; autocorrelation of their ranks",
    )


def _downlink(recipe: ShippedUplink, own: Sequence[Trace], root: Path) -> Coefficient:
    """Mean downlink rate: of the traces themselves, of the matching downlink file, or of Lumos5G."""
    key, data, assumed = recipe.downlink, recipe.data, False
    if key == "own":
        traces, files = list(own), recipe.files
    elif key == "starlink":
        traces, files = (
            readers.starlink(root / data.folder, "UDP_Downlink_mob_all*"),
            "UDP/Downlink/mob_all.csv",
        )
    elif key.endswith(".down"):
        traces, files = readers.mahimahi(root / data.folder, key, 100.0), f"traces/{key}"
    else:
        generation, motion = key.split()
        data, assumed = LUMOS, motion not in recipe.title
        files = f"Lumous5G/{generation}/*_{motion}*"
        traces = readers.lumos5g(root / LUMOS.folder, generation, motion)
    mean = float(np.mean(np.concatenate([trace.rate_mbps for trace in traces])))
    return Coefficient(
        value=round(mean, 2),
        unit="Mbit/s",
        evidence="assumed" if assumed else "measured",
        source=data.source(files),
        note="mean of walking recordings stands in: none was made standing still" if assumed else "mean",
    )


def _radio(kind: str, root: Path) -> RadioPower:
    if kind == "wifi":
        return assumed_wifi_radio()
    folder = root / LUMOS.folder
    if kind == "3g":
        lte = _measured_radio("LTE", folder)
        return relabelled(
            lte, "the LTE law stands in: no 3G measurement here; both are whole cellular modems"
        )
    return _measured_radio(kind, folder)


def _power_law(network: str, direction: str, folder: Path) -> PowerLaw:
    return fit_power_law(*readers.transfer_power(folder, network, direction))


def phone_base_mw(folder: Path) -> tuple[float, float, float]:
    """Lowest, middle and highest estimate of what the phone drew besides its radio in the transfer runs, mW.

    The transfer file gives whole-phone power and no base. The walking runs of the same campaign give
    power above
    the base; at equal rates the difference between the transfer law and those is the base: one median
    per network
    and direction, whose mean is the middle. The base stated in the walking files (power_full - power)
    is higher,
    2.3 W with the screen at its brightest; it cannot be that of the transfers, where single seconds
    lie below it.
    """
    estimates = []
    for network, file in (("mmwave", "mn-vz-hb"), ("NSALow", "mn-vz-lb")):
        walking = readers.walking_power(folder, file)
        for direction, own, other in (("downlink", 0, 1), ("uplink", 1, 0)):
            rows = walking[walking[:, other] < 5.0]
            base = implied_base_mw(_power_law(network, direction, folder), rows[:, own], rows[:, 2])
            estimates.append(float(np.median(base)))
    return min(estimates), float(np.mean(estimates)), max(estimates)


def _measured_radio(network: str, folder: Path) -> RadioPower:
    source = LUMOS.source("MN-Transfer_combined.csv, base from mn-vz-hb/lb_combined.csv")
    uplink, downlink = (_power_law(network, direction, folder) for direction in ("uplink", "downlink"))
    return measured_radio(uplink, downlink, phone_base_mw(folder), source)


def _dvfo_range() -> UplinkModel:
    """The 0.5 to 8 Mbit/s of the DVFO experiments: only the range is known, the rest is assumed."""
    source = "assumed; DVFO's public data page states a range of 0.5-8 Mbit/s and nothing about time"
    return UplinkModel(
        name="dvfo-0.5-8",
        title="0.5 to 8 Mbit/s, the range of the DVFO experiments (synthetic)",
        direction="none (synthetic)",
        process_evidence="assumed",
        notes=(
            "Only the range has a source. Log-uniform, and about as slow as the LTE driving uplink: the "
            "chance to move is chosen for an autocorrelation of 0.86 at 1 s.",
        ),
        provenance=Provenance(repository="", commit="", files=(), cite=source, series=0, seconds=0.0),
        rtt=RoundTripProcess(
            probabilities=(0.0, 0.05, 0.5, 0.95, 1.0),
            quantiles_ms=(1.0, 2.0, 5.0, 20.0, 100.0),
            autocorrelation=0.3,
            spacing_ms=PING_SPACING_MS,
            evidence="assumed",
            source="assumed; a shaped wireless LAN: a few ms, with tails from contention",
        ),
        downlink_mbps=Coefficient(
            value=8.0, unit="Mbit/s", evidence="assumed", source=source, note="upper bound"
        ),
        radio=assumed_wifi_radio(),
        process=bounded_walk(0.5, 8.0, 16, 0.5),
    )
