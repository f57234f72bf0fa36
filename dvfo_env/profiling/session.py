"""One run of `dvfo profile` from beginning to end: look, plan, measure, write."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from dvfo_env.devices.library import HOST, user_devices_folder
from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.errors import ConfigError
from dvfo_env.hardware.clocks import ClockAxis, Domain, discover_clocks
from dvfo_env.hardware.meters import Meter, discover_meters
from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.hardware.topology import Topology, discover
from dvfo_env.profiling.benches import start_benches
from dvfo_env.profiling.log import MeasurementLog
from dvfo_env.profiling.measure import Bench, Machine, Progress, measure
from dvfo_env.profiling.plan import DEFAULT_CLOCKS, ENGINES, Engine, Network, Plan, clock_axes, places_here
from dvfo_env.profiling.power import Watts, power_by_hand, power_measured
from dvfo_env.profiling.result import Findings, build_profile, findings, merged
from dvfo_env.profiling.setting import clocks_restored, restore_from
from dvfo_env.record_yaml import rounded, write_record
from dvfo_env.schema import load_yaml
from dvfo_env.workloads import load_workload

#: Name of the file beside the profiles that holds clocks to put back after a run that was killed.
JOURNAL = "clocks-to-restore.json"


@dataclass(frozen=True)
class Options:
    """What a user asks for.

    `workloads` are names, or cards with `model` saying what to run (`module:function` or an ONNX file);
    `engines` empty means every one that is installed; `clocks` is how many clocks of each domain at most,
    None for all; `out` None is the user's `host.yaml`.
    """

    workloads: tuple[str, ...] = ("mobilenet-v2",)
    model: str | None = None
    engines: tuple[Engine, ...] = ()
    mappings: tuple[str, ...] = ()
    clocks: int | None = DEFAULT_CLOCKS
    precision_percent: float = 2.0
    budget_s: float = 120.0
    watts: Watts | None = None
    out: Path | None = None
    fresh: bool = False
    replace: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What there is on this machine to measure with and at."""

    topology: Topology
    axes: Mapping[Domain, ClockAxis]
    meters: tuple[Meter, ...]
    meter_notes: tuple[str, ...]
    plan: Plan


@dataclass(frozen=True)
class Outcome:
    """What a run brought: the profile as written, where, and what stands behind it."""

    profile: DeviceProfile
    path: Path
    log: Path
    findings: Findings
    seconds: float
    resumed: int


def look(options: Options, sysfs: SysFs | None = None) -> Surroundings:
    """Find out what exists here and make the plan; measures nothing, writes nothing.

    Raises:
        ConfigError: an engine is not installed, a network or mapping unknown.
    """
    sysfs = sysfs or SysFs()
    topology = discover(sysfs)
    engines = _engines(options.engines)
    found = discover_clocks(sysfs).items()
    axes = {domain: axis.with_known_clocks().thinned(options.clocks) for domain, axis in found}
    meters, notes = discover_meters(sysfs)
    networks = tuple(network_of(name, options.model) for name in options.workloads)
    plan = Plan(
        networks=networks,
        places=places_here(topology, engines, options.mappings, gpu=_gpu_usable(engines)),
        axes=clock_axes(axes),
        machine=(
            ("processor", topology.processor),
            ("kernel", platform.release()),
            *((engine, version(engine)) for engine in engines),
        ),
        precision_percent=options.precision_percent,
        budget_s=options.budget_s,
    )
    return Surroundings(topology, axes, meters, notes, plan)


def run(options: Options, tell: Callable[[Progress], None], sysfs: SysFs | None = None) -> Outcome:
    """Measure and write the profile. What an interrupted run of the same plan measured is used.

    Raises:
        ConfigError: something asked for does not exist here, or the profile cannot be written.
        MeasurementError: a network does not run, too little time.
    """
    begun = time.monotonic()
    sysfs = sysfs or SysFs()
    path = options.out or user_devices_folder() / f"{HOST}.yaml"
    folder = path.parent
    restore_from(sysfs, folder / JOURNAL)
    here = look(options, sysfs)
    plan = here.plan
    cores = here.topology.cores()
    by_hand = None if options.watts is None else power_by_hand(options.watts, plan, cores)
    before = load_yaml(path, DeviceProfile) if path.is_file() and not options.replace else None
    partial = folder / f"{path.stem}.{plan.hash}.partial.jsonl"
    if options.fresh:
        partial.unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="dvfo-profile-") as scratch,
        MeasurementLog(partial, plan.hash, plan.as_data()) as log,
    ):
        resumed = log.resumed
        with clocks_restored(sysfs, here.axes, folder / JOURNAL) as setter:
            machine = Machine(sysfs, here.topology.cpus, setter, here.meters)
            measure(plan, machine, log, _benches(Path(scratch) / "onnx"), tell)
        found = findings(plan, log)
        power = by_hand or power_measured(plan, here.meters, log.entries, cores)
    profile = build_profile(
        path.stem,
        plan,
        found,
        here.axes,
        cores,
        here.topology.left_out,
        power,
        datetime.now(UTC).strftime("%Y-%m-%d"),
    )
    if before is not None:
        profile = merged(profile, before)
    profile = rounded(profile)
    write_record(
        profile, path, header=f"# Written by dvfo profile; its measurements are in {path.stem}.*.jsonl\n"
    )
    kept = folder / f"{path.stem}.{plan.hash}.jsonl"
    os.replace(partial, kept)
    return Outcome(profile, path, kept, found, time.monotonic() - begun, resumed)


def network_of(workload: str, model: str | None = None) -> Network:
    """A network by the name of its card, run as shipped or as `model` says.

    Raises:
        ConfigError: unknown workload, or a card of one's own without a model to run.
    """
    card = load_workload(workload)
    source, digest = _source(card.name, workload, model)
    positions = tuple(cut.position for cut in card.cuts)
    return Network(card.name, source, card.cut_names, positions, card.input_shape, digest)


def _source(name: str, workload: str, model: str | None) -> tuple[str, str]:
    if model is None:
        from dvfo_env.workloads.networks import NETWORKS

        if name not in NETWORKS:
            raise ConfigError(
                f"{workload}: --model is missing: what runs this card, module:function or .onnx"
            )
        return f"shipped:{name}", ""
    if not model.endswith(".onnx"):
        return model, ""
    path = Path(model).resolve()
    try:
        return f"onnx:{path}", hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise ConfigError(f"--model: {path}: cannot be read: {error.strerror}") from None


def _engines(asked: Sequence[Engine]) -> tuple[Engine, ...]:
    installed = tuple(engine for engine in ENGINES if find_spec(engine) is not None)
    for engine in asked:
        if engine not in installed:
            raise ConfigError(
                f"--engine: {engine} is not installed; installed: {', '.join(installed) or 'none'}"
            )
    if not installed:
        raise ConfigError("--engine: neither onnxruntime nor torch is installed")
    return tuple(asked) or installed


def _gpu_usable(engines: Sequence[Engine]) -> bool:
    """Whether every engine can use a GPU here; asking torch is slow, so the driver's file is asked first."""
    if not any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu")):
        return False
    usable = True
    if "torch" in engines:
        import torch

        usable = usable and torch.cuda.is_available()
    if "onnxruntime" in engines:
        import onnxruntime

        usable = usable and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return usable


def _benches(scratch: Path) -> Callable[[Network, Plan], Mapping[str, Bench]]:
    def start(network: Network, plan: Plan) -> Mapping[str, Bench]:
        shutil.rmtree(scratch, ignore_errors=True)  # nobody reads the files of the network before this one
        return start_benches(network, plan.places, scratch)

    return start
