"""What one device does with one workload: latency, energy and power over every cut, mapping and clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvfo_env.devices.layers import segment_latency_ms, shares
from dvfo_env.devices.power import PowerModel
from dvfo_env.devices.profile import DeviceProfile, EnergyDefinition, Mapping
from dvfo_env.devices.provenance import coefficients_of
from dvfo_env.errors import ConfigError
from dvfo_env.schema import Coefficient

if TYPE_CHECKING:
    from dvfo_env.workloads import WorkloadCard

Array = NDArray[np.float64]
BYTES_PER_ELEMENT = 4.0
"""Tensors handed between processors are 32-bit floats."""

UNKNOWN_ENCODER = Coefficient(
    value=1.5,
    unit="ms*GHz",
    evidence="assumed",
    source="no measurement: dvfo bench codec on the device prints it",
    range=(0.3, 6.0),
    note="between a fast laptop core and a slow in-order one",
)
"""Reference encoding on a device whose profile does not say how long it takes."""


class DeviceModel:
    """A device profile applied to a workload card.

    Attributes:
        profile: the device.
        card: the workload.
        mappings: base mappings known for this workload, out-of-the-box first.
        cpu_mhz, gpu_mhz, mem_mhz: legal clocks, ascending; (0.0,) where the device has no such clock.
        effect_delay_ms: time until a new (CPU, GPU, memory) clock takes effect; 0 where there is none.

    Raises:
        ConfigError: the profile has no latency for this workload, or a layer table misses a layer.
    """

    def __init__(self, profile: DeviceProfile, card: WorkloadCard) -> None:
        laws = profile.latency.get(card.name)
        if not laws:
            known = ", ".join(sorted(profile.latency))
            raise ConfigError(f"{profile.name}: no latency for workload {card.name!r}; it has {known}")
        self.profile = profile
        self.card = card
        self._laws = laws
        first = profile.out_of_the_box
        self.mappings: tuple[str, ...] = tuple(sorted(laws, key=lambda name: (name != first, name)))
        domains = (profile.cpu, profile.gpu, profile.memory)
        axes = tuple(tuple(domain.mhz) if domain else (0.0,) for domain in domains)
        self.cpu_mhz: tuple[float, ...] = axes[0]
        self.gpu_mhz: tuple[float, ...] = axes[1]
        self.mem_mhz: tuple[float, ...] = axes[2]
        delays = tuple(domain.effect_delay_ms.value if domain else 0.0 for domain in domains)
        self.effect_delay_ms: tuple[float, float, float] = (delays[0], delays[1], delays[2])
        self._shares = shares(card)
        self._power = PowerModel(profile, card.name, float(np.sum(card.traffic_bytes)) / 1e9)
        for name in self.mappings:
            self._segments(name, self.cpu_mhz[-1:], self.gpu_mhz[-1:], self.mem_mhz[-1:])

    def validate_mapping(self, mapping: str) -> None:
        """Accept a base mapping, or a composite `first>second@LAYER`.

        Raises:
            ConfigError: neither; the message lists the base mappings or says what is wrong with the
            composite.
        """
        self._parts(mapping)

    def head_latency_ms(
        self, mapping: str, cpu_mhz: ArrayLike, gpu_mhz: ArrayLike, mem_mhz: ArrayLike
    ) -> Array:
        """Latency (ms) of the head before each cut, [n_cuts, C, G, M]; the last row is the whole network.

        Clocks are one-dimensional in MHz (0.0 where the device has no such clock) and need not be legal
        points.

        Raises:
            ConfigError: unknown mapping.
        """
        segments = sum(time for _, time in self._pieces(mapping, cpu_mhz, gpu_mhz, mem_mhz))
        return _before_each_cut(np.asarray(segments))

    def head_energy_mj(
        self,
        mapping: str,
        cpu_mhz: ArrayLike,
        gpu_mhz: ArrayLike,
        mem_mhz: ArrayLike,
        energy: EnergyDefinition,
    ) -> Array:
        """Energy (mJ) of running the head before each cut alone, [n_cuts, C, G, M].

        Power while a segment runs is that of its mapping; see `PowerModel.head_parts_mj` for the parts.

        Raises:
            ConfigError: unknown mapping, or rail energy on a device without rail measurements.
        """
        return np.asarray(sum(self.head_energy_parts_mj(mapping, cpu_mhz, gpu_mhz, mem_mhz, energy).values()))

    def head_energy_parts_mj(
        self,
        mapping: str,
        cpu_mhz: ArrayLike,
        gpu_mhz: ArrayLike,
        mem_mhz: ArrayLike,
        energy: EnergyDefinition,
    ) -> dict[str, Array]:
        """`head_energy_mj` by part: idle, cpu, gpu, memory; each [n_cuts, C, G, M], they add up to it.

        Raises:
            ConfigError: as `head_energy_mj`.
        """
        clocks = self._grid(cpu_mhz, gpu_mhz, mem_mhz)
        total: dict[str, Array] = {}
        for running, time in self._pieces(mapping, cpu_mhz, gpu_mhz, mem_mhz):
            traffic = self._shares.traffic if running.kind == "gpu" else None
            parts = self._power.segment_parts_mj(running, time, traffic, clocks, energy)
            for name, value in parts.items():
                total[name] = total[name] + value if name in total else value
        return {name: _before_each_cut(value) for name, value in total.items()}

    def idle_power_mw(
        self, cpu_mhz: ArrayLike, gpu_mhz: ArrayLike, mem_mhz: ArrayLike, energy: EnergyDefinition
    ) -> Array:
        """Power (mW) with the clocks set and the device waiting, [C, G, M].

        Raises:
            ConfigError: rail energy on a device without rail measurements.
        """
        return self._power.idle_mw(self._grid(cpu_mhz, gpu_mhz, mem_mhz), energy)

    def codec_power_mw(
        self, cpu_mhz: ArrayLike, gpu_mhz: ArrayLike, mem_mhz: ArrayLike, energy: EnergyDefinition
    ) -> Array:
        """Power (mW) while waiting with one CPU core busy encoding, [C, G, M].

        The core is of the out-of-the-box mapping's cluster.

        Raises:
            ConfigError: rail energy on a device without rail measurements.
        """
        grid = self._grid(cpu_mhz, gpu_mhz, mem_mhz)
        return self._power.idle_mw(grid, energy) + self._power.one_core_mw(grid, energy)

    @property
    def encoder_ms_ghz(self) -> Coefficient:
        """Time of the reference encoding on one core at 1 GHz; assumed where the profile does not say."""
        return self.profile.encoder_ms_ghz or UNKNOWN_ENCODER

    def coefficients(self) -> dict[str, Coefficient]:
        """Every coefficient that this workload uses, by dotted name as in the profile file."""
        return coefficients_of(self.profile, self.card.name)

    @staticmethod
    def _grid(cpu_mhz: ArrayLike, gpu_mhz: ArrayLike, mem_mhz: ArrayLike) -> tuple[Array, Array, Array]:
        cpu, gpu, mem = (
            np.atleast_1d(np.asarray(mhz, dtype=np.float64)) / 1000.0 for mhz in (cpu_mhz, gpu_mhz, mem_mhz)
        )
        return cpu[:, None, None], gpu[None, :, None], mem[None, None, :]

    def _segments(self, mapping: str, cpu_mhz: ArrayLike, gpu_mhz: ArrayLike, mem_mhz: ArrayLike) -> Array:
        running = self.profile.mappings[mapping]
        where = f"{self.profile.name}: latency.{self.card.name}.{mapping}"
        grid = self._grid(cpu_mhz, gpu_mhz, mem_mhz)
        return segment_latency_ms(self._laws[mapping], running, self.card, self._shares, grid, where)

    def _pieces(
        self, mapping: str, cpu_mhz: ArrayLike, gpu_mhz: ArrayLike, mem_mhz: ArrayLike
    ) -> list[tuple[Mapping, Array]]:
        """(where it runs, time per segment [n_segments, C, G, M]) of each piece of a mapping; they add up."""
        first, second, split = self._parts(mapping)
        head = self._segments(first, cpu_mhz, gpu_mhz, mem_mhz)
        if second is None:
            return [(self.profile.mappings[first], head)]
        tail = self._segments(second, cpu_mhz, gpu_mhz, mem_mhz)
        head[split:] = 0.0
        tail[:split] = 0.0
        copy = np.zeros_like(tail)
        copy[split] = self._copy_ms(first, second, split)
        return [(self.profile.mappings[first], head + copy), (self.profile.mappings[second], tail)]

    def _copy_ms(self, first: str, second: str, cut: int) -> float:
        a, b = self.profile.mappings[first], self.profile.mappings[second]
        if (a.kind, a.cluster) == (b.kind, b.cluster):
            return 0.0
        copies = self.profile.copies
        for key in (f"{a.cluster}>{b.cluster}", f"{a.kind}>{b.kind}"):
            if key in copies:
                megabytes = float(self.card.elements[cut]) * BYTES_PER_ELEMENT / 1e6
                return copies[key].base_ms.value + copies[key].ms_per_mb.value * megabytes
        raise ConfigError(
            f"{self.profile.name}: copies has no {a.kind}>{b.kind} for mapping {first}>{second}"
        )

    def _parts(self, mapping: str) -> tuple[str, str | None, int]:
        """(first, second or None, index of the first segment on second)."""
        if mapping in self._laws:
            return mapping, None, 0
        where = f"{self.profile.name}: mapping {mapping!r}"
        pair, at, layer = mapping.partition("@")
        first, arrow, second = pair.partition(">")
        if not (at and arrow and layer):
            raise ConfigError(f"{where}: expected one of {', '.join(self.mappings)}, or FIRST>SECOND@LAYER")
        for name in (first, second):
            if name not in self._laws:
                raise ConfigError(f"{where}: {name!r} is not one of {', '.join(self.mappings)}")
        for index, segment in enumerate(self.card.segments):
            if layer in segment.layers:
                if index == 0:
                    raise ConfigError(
                        f"{where}: nothing is left before layer {layer!r}; use {second!r} alone"
                    )
                self._copy_ms(first, second, index)
                return first, second, index
        raise ConfigError(f"{where}: {self.card.name} has no layer {layer!r}")


def _before_each_cut(segments: Array) -> Array:
    """[n_segments, ...] to [n_cuts, ...]: sums of the segments before each cut."""
    start = np.zeros((1, *segments.shape[1:]))
    return np.concatenate([start, np.cumsum(segments, axis=0)])
