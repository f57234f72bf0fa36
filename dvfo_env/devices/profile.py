"""What a device profile file may say: clocks, mappings, laws of latency, power and heat, with sources."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dvfo_env.schema import Coefficient, Record

Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
EnergyDefinition = Literal["board", "dynamic", "rails"]
Domain = Literal["cpu", "gpu"]
Meter = Literal["board input", "module input", "wall socket", "core rail", "whole phone", "none"]


class ClockDomain(Record):
    """Clocks that one domain (CPU, GPU or memory) offers.

    `mhz` ascends. `effect_delay_ms` is the time from a write until the new clock takes effect.
    """

    mhz: Annotated[tuple[Positive, ...], Field(min_length=1)]
    effect_delay_ms: Coefficient
    source: str

    @model_validator(mode="after")
    def _ascending(self) -> ClockDomain:
        if list(self.mhz) != sorted(set(self.mhz)):
            raise ValueError("mhz must ascend without repeats")
        return self


class Mapping(Record):
    """A place to run layers: `threads` cores of one CPU cluster, or the GPU driven by `threads` CPU cores.

    `busy_cores` is how many cores it keeps busy on average, for their power; `threads` where it is absent. A
    core that drives a GPU waits most of the time.
    """

    kind: Domain
    cluster: str
    threads: Annotated[int, Field(ge=1, le=1024)]
    busy_cores: Coefficient | None = None
    title: str = ""


class Fit(Record):
    """How well a law reproduces the measurements behind it; errors are mean absolute percentage errors.

    `holdout_*` come from measurements the fit has not seen (whole clock combinations held back).
    """

    points: Annotated[int, Field(ge=0)]
    conditions: str
    error_percent: NonNegative | None = None
    holdout_error_percent: NonNegative | None = None
    holdout_worst_percent: NonNegative | None = None
    holdout_method: str = ""


class Anchor(Record):
    """A measured time of the whole network at one setting of the clocks (MHz), which its law passes through.

    A clock that the device does not have is None.
    """

    latency: Coefficient
    cpu_mhz: Positive | None = None
    gpu_mhz: Positive | None = None
    mem_mhz: Positive | None = None


class ClockLaw(Record):
    """Latency of the whole network over the clocks (GHz), and how it is shared out over the layers.

    t = t0 + c / (threads^a f_cpu) + ((g / f_gpu)^p + (m / f_mem)^p)^(1/p)      [ms]

    A part that is None is absent; a part over a clock the device does not have must be None. On a GPU mapping
    t0 and c are shared out over the layers by number of operations (kernel launches); on a CPU mapping t0 is
    shared by operations and c by FLOPs. g follows FLOPs, m follows memory traffic.

    `split` says how g and m run through the layers. `layered`: segment s has g_s = g * FLOPs share, m_s = m *
    traffic share, and the network is the sum of the segments' soft maxima. `uniform`: every segment has the
    network's own ratio g : m, so the whole soft maximum is one number, shared out by each segment's soft
    maximum at 1 GHz. Either way the split over layers is an assumption; only the sum is compared with
    measurements.
    """

    kind: Literal["clock_law"] = "clock_law"
    t0_ms: Coefficient | None = None
    cpu_ms_ghz: Coefficient | None = None
    core_exponent: Coefficient | None = None
    gpu_ms_ghz: Coefficient | None = None
    mem_ms_ghz: Coefficient | None = None
    shape: Coefficient | None = None
    split: Literal["layered", "uniform"] = "uniform"
    split_note: str = ""
    anchor: Anchor | None = None
    fit: Fit


class LayerTable(Record):
    """Measured time of every layer (ms) at one pinned setting; it does not depend on the clocks.

    `layer_ms` uses the layer names of the workload card. `fused` names layers that run inside a neighbour and
    cost nothing of their own. Any other layer of the card that is missing is an error.
    """

    kind: Literal["layer_table"] = "layer_table"
    layer_ms: Annotated[dict[str, NonNegative], Field(min_length=1)]
    fused: tuple[str, ...] = ()
    evidence: Literal["measured", "fitted", "assumed"]
    source: str
    fit: Fit


class SegmentTable(Record):
    """Measured time of every segment (ms) at one pinned setting; it does not depend on the clocks.

    `segment_ms` is keyed by the name of the cut that ends the segment, one entry for each segment of the
    card. `split_note` says how a segment's time was found where it was not measured by itself.
    """

    kind: Literal["segment_table"] = "segment_table"
    segment_ms: Annotated[dict[str, NonNegative], Field(min_length=1)]
    evidence: Literal["measured", "fitted", "assumed"]
    source: str
    range_ms: tuple[NonNegative, NonNegative] | None = None
    split_note: str = ""
    fit: Fit


class ClockTable(Record):
    """Measured time of every segment (ms) at every combination of some clocks; linear in 1/f in between.

    `cpu_mhz`, `gpu_mhz` and `mem_mhz` ascend; an empty one says that the time does not depend on that clock.
    `segment_ms` is keyed like `SegmentTable`'s and lists one time for each combination, memory clocks
    fastest, then GPU, then CPU. Beyond the lowest and highest clock the nearest one counts. `range_ms` is the
    95 % interval of the whole network at the highest clocks.
    """

    kind: Literal["clock_table"] = "clock_table"
    cpu_mhz: tuple[Positive, ...] = ()
    gpu_mhz: tuple[Positive, ...] = ()
    mem_mhz: tuple[Positive, ...] = ()
    segment_ms: Annotated[dict[str, tuple[NonNegative, ...]], Field(min_length=1)]
    evidence: Literal["measured", "fitted", "assumed"]
    source: str
    range_ms: tuple[NonNegative, NonNegative] | None = None
    split_note: str = ""
    fit: Fit

    @model_validator(mode="after")
    def _one_time_each(self) -> ClockTable:
        points = 1
        for name in ("cpu_mhz", "gpu_mhz", "mem_mhz"):
            axis = getattr(self, name)
            points *= max(1, len(axis))
            if list(axis) != sorted(set(axis)):
                raise ValueError(f"{name} must ascend without repeats")
        for name, times in self.segment_ms.items():
            if len(times) != points:
                raise ValueError(f"segment_ms.{name} has {len(times)} times for {points} clock combinations")
        return self


Law = Annotated[ClockLaw | LayerTable | SegmentTable | ClockTable, Field(discriminator="kind")]


class CopyCost(Record):
    """Time to hand a tensor from one processor to another: base_ms + ms_per_mb * megabytes (10^6 bytes)."""

    base_ms: Coefficient
    ms_per_mb: Coefficient


class VoltageCurve(Record):
    """Supply voltage relative to its lowest value: V(f) = max(1, 1 + slope * (f - knee)), f in GHz."""

    knee_ghz: Coefficient
    slope_per_ghz: Coefficient


class CorePower(Record):
    """Power that n busy cores of a cluster add (mW) at `reference_mhz`: cluster_mw + n * core_mw.

    `cluster_mw` is what the first busy core wakes besides itself. Elsewhere both scale with f V(f)^2; where
    the device has no CPU clock, or `reference_mhz` is None, they do not scale.
    """

    core_mw: Coefficient
    cluster_mw: Coefficient | None = None
    reference_mhz: Positive | None = None


class GpuPower(Record):
    """Power that the busy GPU adds (mW) at `reference_mhz` at activity 1; scales with f V(f)^2.

    `idle_mw` is what the GPU adds at `reference_mhz` while it waits with its clock set; it scales the same
    way. Where the device has no GPU clock, or `reference_mhz` is None, neither scales.
    """

    busy_mw: Coefficient
    idle_mw: Coefficient | None = None
    reference_mhz: Positive | None = None
    voltage: VoltageCurve | None = None


class PowerTerms(Record):
    """One sum of rails as a function of clocks and load (mW):

    P = base + mem_idle(f_mem) + (cluster + n core) * fV^2 + activity * busy * fV^2 + traffic * GB/s

    `mem_idle_mw` has one entry per memory clock: what that clock adds while the device waits, above the
    lowest one (linear in between). `activity` is a factor per workload (1 where it is not listed).
    """

    base_mw: Coefficient
    mem_idle_mw: tuple[Coefficient, ...] | None = None
    cores: dict[str, CorePower]
    gpu: GpuPower | None = None
    traffic_mw_per_gbs: Coefficient | None = None
    activity: dict[str, Coefficient] = Field(default_factory=dict)
    fit: Fit


class PowerLaw(Record):
    """Power of the board and, where measured, of the compute rails (CPU + GPU + DDR) alone.

    `meter` says where the board's power was read: at a wall socket it holds the supply's loss, the fan and
    the carrier board; `none` where nobody read it. `dram_gb` is the memory traffic of one inference (10^9
    bytes) per workload on the GPU; a workload that is not listed uses the traffic of its card.
    """

    meter: Meter | None = None

    board: PowerTerms
    rails: PowerTerms | None = None
    cpu_voltage: VoltageCurve | None = None
    dram_gb: dict[str, Coefficient] = Field(default_factory=dict)


class Trip(Record):
    """At `temperature_c` the domain is capped to `max_mhz` until the node cools to `release_c`."""

    temperature_c: float
    release_c: float
    domain: Domain
    max_mhz: Positive
    evidence: Literal["measured", "fitted", "assumed"]
    source: str

    @model_validator(mode="after")
    def _hysteresis(self) -> Trip:
        if not self.release_c < self.temperature_c:
            raise ValueError(f"release_c {self.release_c} must be below temperature_c {self.temperature_c}")
        return self


class ThermalLaw(Record):
    """One RC node: dT/dt = (ambient + resistance * P_board - T) / time_constant; P in W, T in Celsius."""

    ambient_c: Coefficient
    resistance_c_per_w: Coefficient
    time_constant_s: Coefficient
    start_c: float
    trips: tuple[Trip, ...] = ()


class DeviceProfile(Record):
    """One device, as its file in `profiles/` describes it.

    `latency[workload][mapping]` is a law or a layer table. `copies` holds the cost of handing a tensor over,
    keyed `cluster>cluster`, else `kind>kind` (for example `big>gpu`, `cpu>gpu`). `out_of_the_box` is the
    mapping that the device uses untouched; it comes first wherever mappings are listed. Where `power` is
    absent nobody measured it: the profile is latency only and answers no question about energy.
    `encoder_ms_ghz` is the time of the reference encoding (`codecs.reference`) on one core of the
    out-of-the-box mapping's cluster, times its clock in GHz (times 1 where no CPU clock is known).
    `supporting` holds fits to measurements of this device that give no law of the profile by themselves
    (another runtime, another batch, another setting) but stand behind its form or its assumed coefficients.
    """

    name: str
    title: str
    description: str = ""
    cores: dict[str, Annotated[int, Field(ge=1)]]
    cpu: ClockDomain | None = None
    gpu: ClockDomain | None = None
    memory: ClockDomain | None = None
    mappings: Annotated[dict[str, Mapping], Field(min_length=1)]
    out_of_the_box: str
    inference: dict[str, str] = Field(default_factory=dict)
    latency: dict[str, dict[str, Law]]
    copies: dict[str, CopyCost] = Field(default_factory=dict)
    power: PowerLaw | None = None
    thermal: ThermalLaw | None = None
    encoder_ms_ghz: Coefficient | None = None
    supporting: dict[str, Fit] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> DeviceProfile:
        if self.out_of_the_box not in self.mappings:
            raise ValueError(
                f"out_of_the_box {self.out_of_the_box!r} is not one of mappings {sorted(self.mappings)}"
            )
        for name, mapping in self.mappings.items():
            self._check_mapping(name, mapping)
        points = len(self.memory.mhz) if self.memory else 0
        for terms in (self.power.board, self.power.rails) if self.power else ():
            if terms and terms.mem_idle_mw is not None and len(terms.mem_idle_mw) != points:
                found = len(terms.mem_idle_mw)
                raise ValueError(f"power: mem_idle_mw has {found} entries for {points} memory clocks")
        for workload, laws in self.latency.items():
            for mapping_name, law in laws.items():
                self._check_law(f"latency.{workload}.{mapping_name}", mapping_name, law)
        return self

    def _check_mapping(self, name: str, mapping: Mapping) -> None:
        if ">" in name or "@" in name:
            raise ValueError(f"mappings.{name}: '>' and '@' are kept for composite mappings")
        for terms_name in ("board", "rails"):
            terms: PowerTerms | None = getattr(self.power, terms_name, None)
            if terms is None:
                continue
            if mapping.kind == "gpu" and terms.gpu is None:
                raise ValueError(f"mappings.{name} runs on the GPU but power.{terms_name}.gpu is missing")
            if mapping.cluster not in terms.cores:
                raise ValueError(
                    f"mappings.{name}: power.{terms_name}.cores has no cluster {mapping.cluster!r}"
                )
        if mapping.cluster not in self.cores or mapping.threads > self.cores[mapping.cluster]:
            raise ValueError(
                f"mappings.{name}: {mapping.threads} x {mapping.cluster!r} is more than cores has"
            )

    def _check_law(self, where: str, mapping: str, law: Law) -> None:
        if mapping not in self.mappings:
            raise ValueError(f"{where}: {mapping!r} is not one of mappings {sorted(self.mappings)}")
        if isinstance(law, ClockTable):
            for part, mhz in (("cpu", law.cpu_mhz), ("gpu", law.gpu_mhz), ("memory", law.mem_mhz)):
                if mhz and getattr(self, part) is None:
                    raise ValueError(f"{where}.{part}: the device has no such clock")
            return
        if not isinstance(law, ClockLaw):
            domain = self.cpu if self.mappings[mapping].kind == "cpu" else self.gpu
            if domain is not None and len(domain.mhz) > 1:
                raise ValueError(f"{where}: a table knows one clock, the device has {len(domain.mhz)}")
            return
        parts = (("cpu_ms_ghz", law.cpu_ms_ghz, self.cpu), ("gpu_ms_ghz", law.gpu_ms_ghz, self.gpu))
        for part, coefficient, domain in (*parts, ("mem_ms_ghz", law.mem_ms_ghz, self.memory)):
            if coefficient is not None and domain is None:
                raise ValueError(f"{where}.{part}: the device has no such clock")
        given = (law.t0_ms, law.cpu_ms_ghz, law.gpu_ms_ghz, law.mem_ms_ghz)
        if not any(part is not None and part.value > 0.0 for part in given):
            raise ValueError(f"{where}: no part of the law is above zero")
        if any(part is not None and part.value < 0.0 for part in given):
            raise ValueError(f"{where}: a part of the law is below zero")
        if law.shape is not None and law.shape.value < 1.0:
            raise ValueError(f"{where}.shape: {law.shape.value} is below 1")
