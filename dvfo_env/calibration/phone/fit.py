"""From raw measurements to the profiles of six phones: big, middle and little cores and GPU at one setting.

Inceptions were timed operation by operation on four chips, whole networks on two phones core set by core set,
and others in the ncnn tables. No clock was set or recorded, no power measured on any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvfo_env.calibration.encoder import encoder
from dvfo_env.calibration.ncnn_tables import SCALING, read_ncnn_tables, scaling_fit
from dvfo_env.calibration.phone.copies import copy_costs
from dvfo_env.calibration.phone.latency import (
    Timed,
    from_ncnn,
    layered_networks,
    ncnn_runs_of,
    whole_networks,
)
from dvfo_env.calibration.phone.phones import GPU, PHONES, Phone
from dvfo_env.calibration.phone.power import driving_core, phone_power
from dvfo_env.calibration.pi.power import fit_core_share, fit_pi5_rail
from dvfo_env.devices.profile import CopyCost, DeviceProfile, PowerLaw
from dvfo_env.devices.profile import Mapping as CoreMapping

_TITLES = {"big": "big", "mid": "middle", "little": "little"}


def calibrate_phones(measurements: Path) -> tuple[list[DeviceProfile], list[dict[str, Any]]]:
    """Build the phones' profiles from a folder of raw measurements.

    Returns the profiles and report rows of two kinds: one per device, workload and mapping (time, evidence,
    and for layer tables the raw file's own sum), and one per device and direction of copying (base, slope,
    error, and error on another network's tensors).

    Raises:
        MeasurementError: a raw file is missing or malformed.
    """
    folder = Path(measurements)
    tables = read_ncnn_tables(folder)
    share = fit_core_share(folder)
    core_mw = 1000.0 * max(law.watts for law in fit_pi5_rail(folder))
    profiles, times, copies = [], [], []
    for phone in sorted(PHONES, key=lambda phone: phone.name):
        runs = ncnn_runs_of(phone, tables)
        timed = from_ncnn(phone, runs) | whole_networks(folder, phone) | layered_networks(folder, phone)
        costs, copy_rows = copy_costs(folder, phone)
        profile = _profile(phone, timed, costs, phone_power(tuple(phone.cores), share, core_mw))
        encoding = encoder(phone.name, runs.get("big1"))
        supporting = {SCALING: scaling_fit(runs.values())} if runs else {}
        supporting |= encoding.supporting()
        extra = {"supporting": supporting, "encoder_ms_ghz": encoding.coefficient}
        profiles.append(profile.model_copy(update=extra))
        times += _rows(phone.name, timed)
        copies += copy_rows
    return profiles, [*times, *copies]


def _profile(
    phone: Phone, timed: Mapping[str, Timed], copies: dict[str, CopyCost], power: PowerLaw
) -> DeviceProfile:
    used = {mapping for found in timed.values() for mapping in found.tables}
    return DeviceProfile(
        name=phone.name,
        title=phone.title,
        description=phone.description,
        cores=phone.cores,
        mappings={name: mapping for name, mapping in _mappings(phone.cores).items() if name in used},
        out_of_the_box=phone.out_of_the_box,
        inference={workload: timed[workload].runtime for workload in sorted(timed)},
        latency={workload: {**timed[workload].tables} for workload in sorted(timed)},
        copies=copies,
        power=power,
    )


def _mappings(cores: Mapping[str, int]) -> dict[str, CoreMapping]:
    """Every number of cores of every cluster, then the GPU driven by one core of the first cluster."""
    mappings = {}
    for cluster, count in cores.items():
        for threads in range(1, count + 1):
            plural = "s" if threads > 1 else ""
            title = f"{threads} {_TITLES[cluster]} core{plural}"
            mappings[f"{cluster}{threads}"] = CoreMapping(
                kind="cpu", cluster=cluster, threads=threads, title=title
            )
    first = next(iter(cores))
    mappings[GPU] = CoreMapping(
        kind="gpu",
        cluster=first,
        threads=1,
        busy_cores=driving_core(),
        title=f"GPU, driven by one {_TITLES[first]} core",
    )
    return mappings


def _rows(device: str, timed: Mapping[str, Timed]) -> list[dict[str, Any]]:
    return [
        {
            "device": device,
            "workload": workload,
            "mapping": mapping,
            "latency_ms": round(sum(table.segment_ms.values()), 3),
            "raw_sum_ms": round(found.raw_ms[mapping], 3) if mapping in found.raw_ms else None,
            "evidence": table.evidence,
        }
        for workload, found in sorted(timed.items())
        for mapping, table in found.tables.items()
    ]
