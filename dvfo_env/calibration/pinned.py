"""Profiles pinned to what was measured: clocks and mappings that nobody varied are not there to choose.

Each is made of a whole profile. What that one has to divide by assumption (a constant between CPU clock and
nothing, one busy core between its cluster and itself) stays whole here, as it was fitted.
"""

from __future__ import annotations

from dvfo_env.calibration.encoder import ENCODER
from dvfo_env.calibration.jetson.boards import CLUSTER, Board
from dvfo_env.calibration.jetson.triton import TritonGrid
from dvfo_env.calibration.ncnn_tables import SCALING
from dvfo_env.devices.layers import value_of
from dvfo_env.devices.profile import (
    ClockDomain,
    ClockLaw,
    CorePower,
    DeviceProfile,
    GpuPower,
    PowerLaw,
    PowerTerms,
    SegmentTable,
)
from dvfo_env.record_yaml import rounded
from dvfo_env.schema import Coefficient

MOBILENET = "mobilenet-v2"
_TRITON = "GPU, Triton with ONNX Runtime, driven by one CPU core"


def pinned_triton(whole: DeviceProfile, board: Board, grid: TritonGrid) -> DeviceProfile:
    """A Jetson as its Triton grid measured it: MobileNetV2 on the GPU over the GPU clock, nothing else."""
    law = whole.latency[MOBILENET]["gpu"]
    if not (isinstance(law, ClockLaw) and whole.power and whole.power.board.gpu and whole.gpu):
        raise ValueError(f"{whole.name}: no law of {MOBILENET} over the GPU clock, or no power")
    return rounded(
        DeviceProfile(
            name=f"{whole.name}-pinned",
            title=f"{whole.title}, pinned to what was measured",
            description=(
                "MobileNetV2 on the GPU over the GPU clock, as Triton served it: CPU at"
                f" {board.top_mhz[0]:g} MHz, memory clock as it stood, watts at the wall socket."
            ),
            cores=whole.cores,
            cpu=_still(board.top_mhz[0], "pinned while latency and power were measured"),
            gpu=whole.gpu,
            memory=_still(
                board.top_mhz[2],
                "neither set nor recorded while latency and power were measured: as it stood then; the"
                " highest clock is written for it",
            ),
            mappings={"gpu": whole.mappings["gpu"].model_copy(update={"busy_cores": None, "title": _TRITON})},
            out_of_the_box="gpu",
            inference={MOBILENET: "one image, batch 1"},
            latency={MOBILENET: {"gpu": _whole_law(law, board.top_mhz[0] / 1000.0)}},
            power=PowerLaw(meter=board.meter, board=_wall_terms(whole, board, grid)),
            supporting={ENCODER: whole.supporting[ENCODER]},
            encoder_ms_ghz=whole.encoder_ms_ghz,
        )
    )


def pinned_tx2(whole: DeviceProfile) -> DeviceProfile:
    """The TX2 over GPU and memory clock, the CPU at the clock that stood while all of it was measured."""
    if not (whole.cpu and whole.power and whole.thermal):
        raise ValueError(f"{whole.name}: CPU clocks, power or heat are missing")
    top = whole.cpu.mhz[-1]
    laws = {name: by_mapping["gpu"] for name, by_mapping in whole.latency.items()}
    note = "one core that drives the GPU, with its cluster; fitted as one figure"
    power = whole.power.model_copy(update={"cpu_voltage": None, "board": _one_core(whole.power.board, note)})
    if power.rails:
        power = power.model_copy(update={"rails": _one_core(power.rails, note)})
    trips = tuple(trip for trip in whole.thermal.trips if trip.domain == "gpu")
    return rounded(
        whole.model_copy(
            update={
                "name": f"{whole.name}-pinned",
                "title": f"{whole.title}, CPU pinned at {top:g} MHz",
                "description": "Four networks on the GPU over GPU and memory clock; the CPU stands at the"
                " clock at which all latency and power was measured.",
                "cpu": _still(top, "the clock of every latency and power measurement but Keras'"),
                "mappings": {"gpu": whole.mappings["gpu"]},
                "latency": {
                    name: {"gpu": _whole_law(law, top / 1000.0)}
                    for name, law in laws.items()
                    if isinstance(law, ClockLaw)
                },
                "copies": {},
                "supporting": {},
                "power": power,
                "thermal": whole.thermal.model_copy(update={"trips": trips}),
            }
        )
    )


def pinned_pi5(whole: DeviceProfile) -> DeviceProfile:
    """The Pi 5 on one core, whose rail was metered: networks that were timed on it, and no other mapping."""
    latency = {
        name: {"cpu1": law}
        for name, by_mapping in whole.latency.items()
        if isinstance(law := by_mapping["cpu1"], SegmentTable) and law.evidence == "measured"
    }
    if not (whole.power and whole.power.rails):
        raise ValueError(f"{whole.name}: no power of the core rail")
    note = "one busy core with its cluster, as metered on the core rail; range: the other runtimes"
    return rounded(
        whole.model_copy(
            update={
                "name": f"{whole.name}-pinned",
                "title": "Raspberry Pi 5, one core, pinned to what was measured",
                "description": "One Cortex-A76 at 2.4 GHz, networks that ncnn was timed on; the core rail's"
                " energy is fitted to one busy core (objective.energy: rails). What the rest of the board"
                " takes is assumed.",
                "mappings": {"cpu1": whole.mappings["cpu1"]},
                "out_of_the_box": "cpu1",
                "inference": {name: "ncnn, batch 1, one thread" for name in latency},
                "latency": latency,
                "supporting": {name: fit for name, fit in whole.supporting.items() if name != SCALING},
                "power": whole.power.model_copy(
                    update={
                        "board": _one_core(whole.power.board, "").model_copy(update={"gpu": None}),
                        "rails": _one_core(whole.power.rails, note).model_copy(update={"gpu": None}),
                    }
                ),
            }
        )
    )


def _still(mhz: float, source: str) -> ClockDomain:
    """A clock with one value."""
    never = Coefficient(
        value=0.0, unit="ms", evidence="assumed", source=source, range=(0.0, 0.0), note="never changes"
    )
    return ClockDomain(mhz=(mhz,), effect_delay_ms=never, source=source)


def _whole_law(law: ClockLaw, cpu_ghz: float) -> ClockLaw:
    """The law with constant and launching as one constant, and the memory part, as they were fitted."""
    gpu = law.gpu_ms_ghz
    if law.t0_ms is None or gpu is None or law.mem_ms_ghz is None:
        raise ValueError("a law over the GPU clock has a constant, a GPU and a memory part")

    def fitted(value: float, unit: str, note: str) -> Coefficient:
        return Coefficient(
            value=value, unit=unit, evidence="fitted", source=gpu.source, note=note,
            error_percent=law.fit.error_percent, holdout_error_percent=law.fit.holdout_error_percent,
        )  # fmt: skip

    constant = law.t0_ms.value + value_of(law.cpu_ms_ghz) / cpu_ghz
    update: dict[str, object] = {
        "t0_ms": fitted(constant, "ms", f"with the CPU at {1000.0 * cpu_ghz:g} MHz"),
        "cpu_ms_ghz": None,
        "anchor": None,
    }
    if law.mem_ms_ghz.evidence == "assumed":
        note = "what a faster GPU clock does not shrink, at the one memory clock; nothing is told of others"
        update["mem_ms_ghz"] = fitted(law.mem_ms_ghz.value, "ms*GHz", note)
    return law.model_copy(update=update)


def _wall_terms(whole: DeviceProfile, board: Board, grid: TritonGrid) -> PowerTerms:
    """Quiet idle as measured; what the fit has beyond it at GPU clock 0 is the driving core's."""
    terms = whole.power.board if whole.power else None
    if terms is None or terms.gpu is None or terms.mem_idle_mw is None:
        raise ValueError(f"{whole.name}: no power of the GPU")
    driving = value_of(whole.mappings["gpu"].busy_cores, 1.0) * terms.cores[CLUSTER].core_mw.value
    at_no_clock = terms.base_mw.value + driving + terms.mem_idle_mw[-1].value
    idle = 1000.0 * grid.idle_w
    low, high = (1000.0 * watts for watts in grid.idle_range_w)
    core = Coefficient(
        value=at_no_clock - idle,
        unit="mW",
        evidence="fitted",
        source=terms.gpu.busy_mw.source,
        error_percent=terms.fit.error_percent,
        holdout_error_percent=terms.fit.holdout_error_percent,
        range=(max(0.0, at_no_clock - high), max(board.core.high, at_no_clock - low)),
        note=f"the fitted {at_no_clock:.0f} mW at GPU clock 0 less the quiet idle: a core that drives the"
        " GPU, and its memory; a core that encodes is charged the same. Range: from the highest reading of"
        " the idle, to the most that a core busy all the time may take",
    )
    return PowerTerms(
        base_mw=Coefficient(
            value=idle,
            unit="mW",
            evidence="measured",
            source=terms.gpu.busy_mw.source.replace("batch_1_", "batch_*_"),
            range=(low, high),
            note="quiet idle at the wall socket before the runs, median over the batches; range: each batch",
        ),
        cores={CLUSTER: CorePower(core_mw=core)},
        gpu=GpuPower(**{name: getattr(terms.gpu, name) for name in GpuPower.model_fields}),
        fit=terms.fit,
    )


def _one_core(terms: PowerTerms, note: str) -> PowerTerms:
    """The same terms with one busy core's power as one figure; `note` says why it counts as fitted."""
    ((cluster, power),) = terms.cores.items()
    parts = [part for part in (power.core_mw, power.cluster_mw) if part]
    span = None
    if not note or power.core_mw.evidence == "fitted":
        span = tuple(sum(part.range[end] if part.range else part.value for part in parts) for end in (0, 1))
    update: dict[str, object] = {"value": sum(part.value for part in parts), "range": span}
    if note:
        errors = {name: getattr(terms.fit, name) for name in ("error_percent", "holdout_error_percent")}
        source = power.core_mw.source.partition("; split")[0]
        update |= {"evidence": "fitted", "source": source, "note": note, **errors}
    core = power.model_copy(
        update={"core_mw": power.core_mw.model_copy(update=update), "cluster_mw": None, "reference_mhz": None}
    )
    return terms.model_copy(update={"cores": {cluster: core}})
