"""A scenario of this machine, every time in it measured here: files in one folder that any command reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dvfo_controller.images import example_images
from dvfo_controller.split.client import SplitClient
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_controller.split.plan import SplitPlan, read_plan
from dvfo_controller.split.shaping import PlainLink
from dvfo_env.accuracy.table import write_accuracy_table
from dvfo_env.codecs.reference import reference_encode_ms
from dvfo_env.devices import DeviceModel
from dvfo_env.devices.profile import ClockTable, DeviceProfile, Law, SegmentTable
from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.hardware.topology import discover
from dvfo_env.profiling import session
from dvfo_env.profiling.onnx_engine import export_onnx
from dvfo_env.record_yaml import rounded, write_record
from dvfo_env.scenario import load_scenario
from dvfo_env.schema import Coefficient, load_yaml
from dvfo_env.servers import MeasuredTails, ServerProfile
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_env.whole_file import write_whole
from dvfo_env.workloads import WorkloadCard, load_workload
from dvfo_env.workloads.cuts import MAX_CUTS
from dvfo_env.workloads.own import card_of_onnx
from dvfo_export.split_plan import TO_ONE, make_split_plan
from dvfo_verification.parts import QUANTISED, InService, ServerTimes, in_service, server_times
from dvfo_verification.serving import Server

Tell = Callable[[str], None]
Image = NDArray[np.uint8]

MODEL, CARD, PLAN = "model.onnx", "workload.yaml", "model.split"
DEVICE, ACCURACY, SERVER, SCENARIO = "device.yaml", "accuracy.json", "server.yaml", "scenario.yaml"
#: Images that calibrate the codecs, and others on which they are timed.
CALIBRATION_IMAGES, TIMED_IMAGES = 4, 4
#: Compression levels that each cut offers.
LEVELS = 6
#: A request every so many times, and late after so many times, what the network takes here.
PERIOD, DEADLINE = 1.5, 1.2


@dataclass(frozen=True)
class WorldOptions:
    """What to measure, and where the files go.

    workload: a shipped network, or a name for `model`. mappings: of `dvfo profile --plan`, all if empty.
    server_threads: threads of the server. profile_s: seconds spent on the device profile. uplink: what the
    scenario's episodes are drawn from. one_core: the device has a single core and the server all of them.
    most_cuts: in the network's card, both ends included. patience: an answer may take so many times
    what the network takes here. points_weight: cost of a point of accuracy lost; 1 is that of the network
    run here.
    """

    folder: Path
    workload: str = "mobilenet-v2"
    model: Path | None = None
    mappings: tuple[str, ...] = ()
    server_threads: int = 2
    profile_s: float = 60.0
    uplink: str = "5g-mmwave-walking"
    one_core: bool = False
    most_cuts: int = MAX_CUTS
    patience: float = 4.0
    points_weight: float = 0.02


@dataclass(frozen=True)
class World:
    """A measured machine: its scenario compiled, and what runs it for real.

    input_shape: channels, height, width. places: mapping name -> threads and cores. loopback_ms: the way to
    the server and back without the uplink.
    """

    folder: Path
    tables: CostTables
    plan: SplitPlan
    input_shape: tuple[int, ...]
    places: dict[str, Mapping]
    loopback_ms: float

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL

    @property
    def plan_folder(self) -> Path:
        """The split plan's folder."""
        return self.folder / PLAN

    def engine(self) -> Engine:
        """A runtime of the network with its cuts."""
        return Engine(self.model.read_bytes(), self.plan)


def measure_world(options: WorldOptions, tell: Tell) -> World:
    """Measure this machine and write a scenario of it; parts whose files are there already are kept.

    Raises:
        ConfigError: no such network, or the folder cannot be written.
        MeasurementError: the network does not run here.
        SplitError: the server did not start or did not answer.
    """
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    card = _network(options, tell)
    height, width = card.input_shape[1:]
    images = example_images(CALIBRATION_IMAGES + TIMED_IMAGES, height, width)
    device, places = _device(options, card, tell)
    plan = _plan(folder, card, images[:CALIBRATION_IMAGES], tell)
    timed = images[CALIBRATION_IMAGES:]
    if not (folder / SERVER).is_file():
        with _cores_given_back(), Server(folder / MODEL, folder / PLAN, options.server_threads) as server:
            engine = Engine((folder / MODEL).read_bytes(), plan)
            served = in_service(card, engine, places, timed, LEVELS, tell)
            write_accuracy_table(served.table, folder / ACCURACY)
            first = next(iter(places.values()))
            with SplitClient(engine, server.address, shaper=PlainLink(), timeout_ms=60_000.0) as client:
                times = server_times(client, served.table, first, timed[0], tell)
            engine.close()
        device = _waking(device, card, served)
        write_record(rounded(device), folder / DEVICE)
        write_record(_server_profile(card, options, times), folder / SERVER)
        write_whole(folder / "loopback_ms.txt", f"{times.loopback_ms:.4f}\n")
    scenario = _scenario(options, device, card)
    write_whole(folder / SCENARIO, yaml.safe_dump(scenario, sort_keys=False))
    tables = compile_scenario(load_scenario(folder / SCENARIO))
    loopback_ms = float((folder / "loopback_ms.txt").read_text())
    return World(folder, tables, plan, card.input_shape, places, loopback_ms)


@contextmanager
def _cores_given_back() -> Iterator[None]:
    """Heads run on a mapping's cores; afterwards this thread, and what it starts, may run on all again."""
    before = os.sched_getaffinity(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _network(options: WorldOptions, tell: Tell) -> WorkloadCard:
    """The model file and its card."""
    path, card = options.folder / MODEL, options.folder / CARD
    if not path.is_file():
        tell("exporting the network")
        _single_file(_exported(options), path)
    if not card.is_file():
        tell("looking for cuts")
        write_record(card_of_onnx(path, f"{options.workload}-here", max_cuts=options.most_cuts), card)
    return load_workload(card)


def _exported(options: WorldOptions) -> Path:
    if options.model is not None:
        return options.model
    scratch = options.folder / "export"
    scratch.mkdir(exist_ok=True)
    return export_onnx(session.network_of(options.workload), scratch)


def _single_file(source: Path, target: Path) -> None:
    """Copy a model with its weights inside."""
    import onnx

    onnx.save(onnx.load(source), target, save_as_external_data=False)


def _device(
    options: WorldOptions, card: WorkloadCard, tell: Tell
) -> tuple[DeviceProfile, dict[str, Mapping]]:
    """The profile of this machine, with the time of encoding, and the cores behind each mapping."""
    path = options.folder / DEVICE
    asked = session.Options(
        workloads=(str(options.folder / CARD),),
        model=str(options.folder / MODEL),
        engines=("onnxruntime",),
        mappings=_one_core() if options.one_core else options.mappings,
        budget_s=options.profile_s,
        out=path,
    )
    here = session.look(asked)
    if not path.is_file():
        tell(f"profiling the device, {options.profile_s:.0f} s")
        profile = session.run(asked, lambda progress: None).profile
        top_mhz = max(here.plan.axes[0], default=0.0)
        here_ms = reference_encode_ms()
        encoder = Coefficient(
            value=here_ms * (top_mhz / 1000.0 if top_mhz else 1.0),
            unit="ms x GHz" if top_mhz else "ms, clock unknown",
            evidence="measured",
            source="reference encoding on one core of this machine",
        )
        write_record(rounded(profile.model_copy(update={"encoder_ms_ghz": encoder})), path)
    places = {place.name: Mapping(len(place.cpus), place.cpus) for place in here.plan.places}
    return load_yaml(path, DeviceProfile), places


def _waking(device: DeviceProfile, card: WorkloadCard, served: InService) -> DeviceProfile:
    """The profile with what a request pays that comes alone: `dvfo profile` runs heads in a loop.

    A processor that was idle, caches that hold something else, and taking the image in: the median over cuts
    of how much longer a head takes in service, added to every head by way of the first segment.
    """
    model = DeviceModel(device, card)
    clocks = (model.cpu_mhz[-1:], model.gpu_mhz[-1:], model.mem_mhz[-1:])
    laws = dict(device.latency[card.name])
    for name, cuts in served.head_ms.items():
        heads = dict(
            zip(card.cut_names, model.head_latency_ms(name, *clocks).max(axis=(1, 2, 3)), strict=True)
        )
        waking_ms = float(
            np.median([ms - heads[cut] for cut, ms in cuts.items() if cut != card.cut_names[0]])
        )
        laws[name] = _later(laws[name], waking_ms)
    return device.model_copy(update={"latency": {**device.latency, card.name: laws}})


def _later(law: Law, waking_ms: float) -> Law:
    """A measured law whose heads all take so much longer, at every clock."""
    if not isinstance(law, SegmentTable | ClockTable):
        return law  # not one that `dvfo profile` writes
    first = next(iter(law.segment_ms))
    before = law.segment_ms[first]
    times = before if isinstance(before, tuple) else (before,)
    later = tuple(max(ms + waking_ms, 0.0) for ms in times)
    segments = {**law.segment_ms, first: later if isinstance(before, tuple) else later[0]}
    source = f"{law.source}; {first}: with {waking_ms:.2f} ms that a request pays which comes alone"
    changes = {"segment_ms": segments, "source": source, "range_ms": None}
    return type(law).model_validate(law.model_dump() | changes)


def _one_core() -> tuple[str, ...]:
    """The mapping on one core of the slowest cluster."""
    return (discover(SysFs()).cpu_sets()[0].name,)


def _plan(folder: Path, card: WorkloadCard, images: list[Image], tell: Tell) -> SplitPlan:
    if (folder / PLAN).is_dir():
        return read_plan(folder / PLAN)
    tell("calibrating codecs")
    return make_split_plan(folder / MODEL, card, images, folder / PLAN, TO_ONE, QUANTISED)


def _server_profile(card: WorkloadCard, options: WorldOptions, times: ServerTimes) -> ServerProfile:
    source = "dvfo verify: the server's own time of requests over loopback, medians, decoding taken off"
    whole_ms = max(times.tail_ms.values())
    unused = Coefficient(
        value=whole_ms / (card.flops.sum() / 1e9), unit="ms per GFLOP", evidence="measured", source=source
    )
    return ServerProfile(
        name="server-here",
        title=f"this machine, {options.server_threads} threads",
        runtime="onnxruntime, CPU, batch 1",
        network_ms={},
        other_ms_per_gflop=unused,
        tail_share=Coefficient(
            value=1.0, unit="", evidence="assumed", source="not used: tails were measured"
        ),
        tails={card.name: MeasuredTails(tail_ms=times.tail_ms, evidence="measured", source=source)},
    )


def _scenario(options: WorldOptions, device: DeviceProfile, card: WorkloadCard) -> dict[str, Any]:
    """Latency and accuracy count: nothing measures energy here unless the profile says so."""
    whole_ms = _whole_ms(device, card)
    return {
        "name": "this-machine",
        "title": f"This machine, {options.workload}, {options.uplink}, latency only",
        "device": f"./{DEVICE}",
        "workload": f"./{CARD}",
        "uplink": options.uplink,
        "server": f"./{SERVER}",
        "server_load": "none",
        "accuracy": f"./{ACCURACY}",
        "compression_levels": LEVELS,
        "requests": {
            "period_ms": float(f"{PERIOD * whole_ms:.3g}"),
            "deadline_ms": float(f"{DEADLINE * whole_ms:.3g}"),
        },
        "objective": {"eta": 0.0, "accuracy_weight_per_point": options.points_weight},
        "offload_timeout_ms": float(f"{options.patience * whole_ms:.3g}"),
        "thermal": {"enabled": False},
    }


def _whole_ms(device: DeviceProfile, card: WorkloadCard) -> float:
    model = DeviceModel(device, card)
    clocks = (model.cpu_mhz[-1:], model.gpu_mhz[-1:], model.mem_mhz[-1:])
    return float(model.head_latency_ms(device.out_of_the_box, *clocks)[-1].max())
