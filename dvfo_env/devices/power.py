"""Power and energy of a device: idle, CPU, GPU and memory parts over the clocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.devices.layers import Grid, value_of
from dvfo_env.devices.profile import (
    CorePower,
    DeviceProfile,
    EnergyDefinition,
    Mapping,
    PowerTerms,
    VoltageCurve,
)
from dvfo_env.errors import ConfigError

Array = NDArray[np.float64]


def relative_voltage(curve: VoltageCurve | None, ghz: Array) -> Array:
    """Supply voltage relative to its lowest value, max(1, 1 + slope * (f - knee)); 1 without a curve."""
    if curve is None:
        return np.ones_like(ghz)
    return np.asarray(np.maximum(1.0, 1.0 + curve.slope_per_ghz.value * (ghz - curve.knee_ghz.value)))


def clock_factor(curve: VoltageCurve | None, ghz: Array, reference_mhz: float | None) -> Array:
    """Dynamic power at `ghz` relative to `reference_mhz`: f V(f)^2 / (f0 V(f0)^2); 1 without a reference."""
    if reference_mhz is None:
        return np.ones_like(ghz)
    reference = np.asarray(reference_mhz / 1000.0)
    level = relative_voltage(curve, reference) ** 2 * reference
    return np.asarray(ghz * relative_voltage(curve, ghz) ** 2 / level)


class PowerModel:
    """The power law of a profile for one workload. Grids are clocks in GHz, see `layers.Grid`; powers in mW.

    `card_traffic_gb` is the memory traffic of one inference by the workload card, used where the profile has
    no measured one.
    """

    def __init__(self, profile: DeviceProfile, workload: str, card_traffic_gb: float) -> None:
        self._profile = profile
        self._workload = workload
        measured = profile.power.dram_gb.get(workload) if profile.power else None
        self._traffic_gb = value_of(measured, card_traffic_gb)

    def terms(self, energy: EnergyDefinition) -> PowerTerms:
        """Terms behind an energy definition.

        Raises:
            ConfigError: rails on a device without rail measurements, an unknown definition, or a profile that
            is latency only.
        """
        power = self._profile.power
        if power is None:
            raise ConfigError(
                f"{self._profile.name}: power is not in this profile (latency only): nothing measured it; "
                "use objective.eta 0, or give watts by hand (dvfo calibrate csv --idle-mw --busy-mw, or "
                "dvfo profile --idle-watts --cpu-watts for this machine)"
            )
        if energy in ("board", "dynamic"):
            return power.board
        if energy != "rails":
            raise ConfigError(f"energy {energy!r} is not one of board, dynamic, rails")
        if power.rails is None:
            raise ConfigError(f"{self._profile.name}: energy 'rails' is not known here; use board or dynamic")
        return power.rails

    def idle_mw(self, grid: Grid, energy: EnergyDefinition) -> Array:
        """Power with the clocks set, nothing running, [C, G, M]; `dynamic` counts from the lowest clocks."""
        power = self._quiet(grid, self.terms(energy))
        if energy == "dynamic":
            power = power - self._quiet(self._lowest(), self.terms(energy))
        return np.array(np.broadcast_to(power, np.broadcast_shapes(*(clock.shape for clock in grid))))

    def one_core_mw(self, grid: Grid, energy: EnergyDefinition) -> Array:
        """Power that one busy core of the out-of-the-box mapping's cluster adds, broadcasts to [C, G, M]."""
        cluster = self._profile.mappings[self._profile.out_of_the_box].cluster
        return self._cores(self.terms(energy).cores[cluster], 1, grid)

    def segment_parts_mj(
        self, mapping: Mapping, time_ms: Array, traffic: Array | None, grid: Grid, energy: EnergyDefinition
    ) -> dict[str, Array]:
        """Energy (mJ) of segments that run for `time_ms` [n_segments, C, G, M] on `mapping`, by part.

        idle: base and clocks set; cpu: busy cores; gpu: the busy GPU; memory: its traffic, where `traffic`
        (share of each segment, [n_segments]) is given, spread over the segments that run (time above zero).
        """
        terms = self.terms(energy)
        seconds = time_ms / 1000.0
        parts = {"idle": seconds * self.idle_mw(grid, energy)}
        busy_cores = value_of(mapping.busy_cores, mapping.threads)
        parts["cpu"] = seconds * self._cores(terms.cores[mapping.cluster], busy_cores, grid)
        parts["gpu"] = np.zeros_like(seconds)
        parts["memory"] = np.zeros_like(seconds)
        if mapping.kind == "gpu" and terms.gpu is not None:
            factor = clock_factor(terms.gpu.voltage, grid[1], terms.gpu.reference_mhz)
            busy = value_of(terms.activity.get(self._workload), 1.0) * terms.gpu.busy_mw.value
            parts["gpu"] = seconds * (busy - value_of(terms.gpu.idle_mw)) * factor
        if traffic is not None and terms.traffic_mw_per_gbs is not None:
            energy_mj = terms.traffic_mw_per_gbs.value * self._traffic_gb
            parts["memory"] = np.where(time_ms > 0.0, energy_mj * traffic[:, None, None, None], 0.0)
        return parts

    def _cores(self, power: CorePower, busy: float, grid: Grid) -> Array:
        reference = power.reference_mhz if self._profile.cpu else None
        level = value_of(power.cluster_mw) + busy * power.core_mw.value
        return level * clock_factor(getattr(self._profile.power, "cpu_voltage", None), grid[0], reference)

    def _quiet(self, grid: Grid, terms: PowerTerms) -> Array:
        _, gpu, mem = grid
        power: Array = np.full_like(mem, terms.base_mw.value)
        if terms.mem_idle_mw is not None and self._profile.memory is not None:
            ghz = np.asarray(self._profile.memory.mhz) / 1000.0
            power = power + np.interp(mem, ghz, [step.value for step in terms.mem_idle_mw])
        if terms.gpu is not None and terms.gpu.idle_mw is not None:
            power = power + terms.gpu.idle_mw.value * clock_factor(
                terms.gpu.voltage, gpu, terms.gpu.reference_mhz
            )
        return power

    def _lowest(self) -> Grid:
        domains = (self._profile.cpu, self._profile.gpu, self._profile.memory)
        cpu, gpu, mem = (np.full((1, 1, 1), domain.mhz[0] / 1000.0 if domain else 0.0) for domain in domains)
        return cpu, gpu, mem
