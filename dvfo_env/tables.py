"""compile(Scenario) -> CostTables: the one place where physics turns into numbers.

Everything that runs per decision reads these dense arrays and nothing else.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dvfo_env.accuracy import AccuracyTable, assumed_table, load_accuracy_table
from dvfo_env.accuracy.levels import Levels, compression_levels
from dvfo_env.choices import action_choices
from dvfo_env.devices import DeviceModel, load_device
from dvfo_env.errors import ConfigError
from dvfo_env.evidence import reached_coefficients
from dvfo_env.parameters import Clocks, scalar_parameters
from dvfo_env.scenario import EnergyDefinition, Scenario
from dvfo_env.schema import Coefficient
from dvfo_env.servers import ServerModel, ServerProfile, load_server
from dvfo_env.uplinks import Uplink, load_uplink
from dvfo_env.workloads import load_workload

#: The action, part by part: this order is the columns of every action array.
ACTION_PARTS = ("cut", "mapping", "cpu_mhz", "gpu_mhz", "mem_mhz", "compression")
CUT, MAPPING, CPU, GPU, MEM, LEVEL = range(len(ACTION_PARTS))

#: Length of the bank of uplink, RTT and server-load samples that episodes start in at random; a power of two.
BANK_SAMPLES = 1 << 18

#: Columns of a bank: Mbit/s, round-trip time in ms, server time over the unloaded server's, log2 of the rate.
RATE, RTT, LOAD, RATE_LOG2 = range(4)
#: First column of `CostTables.send` with points of accuracy lost, one for each class of difficulty.
LOST = 3
FLOOR_LOG2 = -10.0  # log2 Mbit/s that a link which carries nothing is remembered as

#: What `Scenario.accuracy` says for a table derived from other networks.
ASSUMED = "assumed"


@dataclass(frozen=True)
class CostTables:
    """A scenario as dense arrays: K cuts, U mappings, C, G, M clock points, Z compression levels, D classes.

    head   float32 [U, K, C, G, M, 3]  latency_ms, counted energy_mj, board energy_mj of the head before each
                                       cut
    idle   float32 [C, G, M, 2]        counted mw, board mw while waiting with these clocks set
    codec  float32 [C, G, M, 2]        the same with one core encoding
    send   float32 [K, Z, 3 + D]       kilobits sent, encode_ms at 1 GHz, decode_ms, then (`LOST`) points of
                                       accuracy lost for each class of difficulty, hardest first; where
                                       decisions are made before the class is known, their mean comes last
    tail_ms float32 [K]                unloaded server time for what follows each cut
    cpu_ghz float32 [C]                CPU clock
    params PARAMS [1]                  every scalar

    `choices` holds the value of every index of every action part, in physical units or names; the last cut is
    always "everything local". `encoders` [K][Z] names what encodes at each cut on each compression level: the
    raw input has codecs of its own, and nothing is encoded at the last cut. `rate_factor`, `rtt_factor` and
    `load_factor` multiply those columns of every bank (`perturbation.perturbed`).
    """

    scenario: Scenario
    head: NDArray[np.float32]
    idle: NDArray[np.float32]
    codec: NDArray[np.float32]
    send: NDArray[np.float32]
    tail_ms: NDArray[np.float32]
    cpu_ghz: NDArray[np.float32]
    params: NDArray[np.void]
    choices: dict[str, tuple[str | float, ...]]
    encoders: tuple[tuple[str, ...], ...]
    uplink: Uplink
    server: ServerModel
    device: DeviceModel
    reference_latency_ms: float
    reference_energy_mj: float
    coefficients: dict[str, Coefficient]
    rate_factor: float = 1.0
    rtt_factor: float = 1.0
    load_factor: float = 1.0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of each action part, in the order of ACTION_PARTS."""
        return tuple(len(self.choices[part]) for part in ACTION_PARTS)

    @property
    def joint_actions(self) -> int:
        """Number of joint actions."""
        return int(np.prod(self.sizes))

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """What the compiled step takes, in its order."""
        return (self.head, self.idle, self.codec, self.send, self.tail_ms, self.cpu_ghz, self.params)

    def bank(self, seed: int) -> NDArray[np.float32]:
        """Samples of everything outside the device's control, on the uplink's time step.

        Returns float32 [BANK_SAMPLES, 4], columns RATE, RTT, LOAD, RATE_LOG2. Policies compared on the same
        bank and episode seeds meet exactly the same world.
        """
        uplink = cast(Hashable, self.uplink)
        factors = (self.rate_factor, self.rtt_factor, self.load_factor)
        if factors == (1.0, 1.0, 1.0):
            return _bank(uplink, self.server, seed)
        return _scaled_bank(uplink, self.server, seed, factors)

    def describe_action(self, indices: NDArray[np.integer]) -> dict[str, str | float]:
        """One action [6] as names and physical units; `compression` is what encodes at the chosen cut."""
        values = {part: self.choices[part][int(i)] for part, i in zip(ACTION_PARTS, indices, strict=True)}
        return values | {"compression": self.encoders[int(indices[CUT])][int(indices[LEVEL])]}

    def action_indices(self, **values: str | float) -> NDArray[np.int64]:
        """The index array [6] of an action given by values; parts left out take their last choice.

        Raises:
            ConfigError: a value that is not one of the part's choices.
        """
        indices = np.array([size - 1 for size in self.sizes], dtype=np.int64)
        for part, value in values.items():
            choices = self.choices[part]
            if value not in choices:
                known = ", ".join(str(choice) for choice in choices)
                raise ConfigError(f"{self.scenario.name}: {part} {value!r} is not one of: {known}")
            indices[ACTION_PARTS.index(part)] = choices.index(value)
        return indices

    @property
    def out_of_the_box(self) -> NDArray[np.int64]:
        """Everything local, first mapping, highest clocks: what savings are counted from; index array [6]."""
        indices = np.array([size - 1 for size in self.sizes], dtype=np.int64)
        indices[MAPPING] = 0
        indices[LEVEL] = 0
        return indices


@lru_cache(maxsize=32)
def _bank(uplink_key: Hashable, server: ServerModel, seed: int) -> NDArray[np.float32]:
    uplink = cast(Uplink, uplink_key)
    bank = np.zeros((BANK_SAMPLES, 4), dtype=np.float32)
    bank[:, :LOAD] = uplink.bank(BANK_SAMPLES, seed)
    bank[:, LOAD] = server.load_bank(BANK_SAMPLES, uplink.step_ms, seed)
    bank[:, RATE_LOG2] = rate_log2(bank[:, RATE])
    bank.setflags(write=False)
    return bank


@lru_cache(maxsize=32)
def _scaled_bank(
    uplink_key: Hashable, server: ServerModel, seed: int, factors: tuple[float, float, float]
) -> NDArray[np.float32]:
    """The bank with rate, round-trip time and server load times `factors`."""
    bank = _bank(uplink_key, server, seed).copy()
    bank[:, [RATE, RTT, LOAD]] *= np.array(factors, dtype=np.float32)
    if factors[0] != 1.0:
        bank[:, RATE_LOG2] = rate_log2(bank[:, RATE])
    bank.setflags(write=False)
    return bank


def rate_log2(rate_mbps: NDArray[np.floating]) -> NDArray[np.float32]:
    """log2 of a bank's rates [S], Mbit/s; a link that carries nothing counts as `FLOOR_LOG2`.

    In double precision: numpy's float32 logarithm differs in the last bit from one processor to another.
    """
    logs: NDArray[np.float32] = np.log2(np.maximum(rate_mbps, 2.0**FLOOR_LOG2, dtype=np.float64)).astype(
        np.float32
    )
    return logs


def compile_scenario(scenario: Scenario) -> CostTables:
    """Turn a scenario into cost tables.

    Raises:
        ConfigError: a part of the scenario does not exist or does not fit the others; names scenario and
        field.
    """
    card = load_workload(scenario.workload)
    device = DeviceModel(load_device(scenario.device), card)
    _refuse_energy_nobody_measured(scenario, device)
    server = ServerModel(_server(scenario), card)
    uplink = load_uplink(scenario.uplink)
    accuracy = assumed_table(card) if scenario.accuracy == ASSUMED else load_accuracy_table(scenario.accuracy)
    levels = compression_levels(
        accuracy,
        card,
        scenario.compression_levels,
        scenario.requests.difficulty == "known",
        most_points_lost=scenario.most_points_lost,
    )
    level_names = tuple(f"level-{z + 1}" for z in range(levels.bytes.shape[1]))
    choices = action_choices(scenario, device, [*levels.cuts, card.cuts[-1].name], level_names)
    cuts = [[cut.name for cut in card.cuts].index(str(name)) for name in choices["cut"]]
    clocks = _clocks(choices)

    energy = scenario.objective.energy
    head = np.stack([_head(device, str(name), clocks, energy)[cuts] for name in choices["mapping"]])
    idle, codec = _waiting(device, clocks, energy)
    places = np.ix_(
        [levels.cuts.index(str(name)) for name in choices["cut"][:-1]],
        [level_names.index(str(name)) for name in choices["compression"]],
    )
    send = _send(levels, device.encoder_ms_ghz.value / _reference_encode_ms(accuracy), places)
    if scenario.decision.mode == "concurrent" and len(levels.shares) > 1:
        send = np.concatenate([send, send[..., LOST:] @ np.array(levels.shares)[:, None]], axis=-1)
    reference = head[0, -1, -1, -1, -1]
    # where the profile knows no CPU clock the encoder is charged as at 1 GHz
    cpu_ghz = np.where(clocks[0] > 0.0, clocks[0] / 1000.0, 1.0)
    params = scalar_parameters(scenario, device, uplink, clocks, reference, levels)
    params["wait_floor_mw"] = idle[..., 0].min()
    params["decision_floor_mj"] = _decision_floor_mj(scenario, idle, codec)
    params["slowest_ms"] = head[..., 0].max() + send[..., 1].max() / cpu_ghz.min()
    return CostTables(
        scenario=scenario,
        head=np.ascontiguousarray(head, dtype=np.float32),
        idle=np.ascontiguousarray(idle, dtype=np.float32),
        codec=np.ascontiguousarray(codec, dtype=np.float32),
        send=np.ascontiguousarray(send, dtype=np.float32),
        tail_ms=server.tail_ms[cuts].astype(np.float32),
        cpu_ghz=cpu_ghz.astype(np.float32),
        params=params,
        choices=choices,
        encoders=(
            *(tuple(levels.rows[k][z].codec for z in places[1][0]) for k in places[0][:, 0]),
            ("none",) * send.shape[1],
        ),
        uplink=uplink,
        server=server,
        device=device,
        reference_latency_ms=float(reference[0]),
        reference_energy_mj=float(reference[1]),
        coefficients=reached_coefficients(scenario, choices, device, uplink, server, accuracy),
    )


def _decision_floor_mj(scenario: Scenario, idle: NDArray[np.float64], codec: NDArray[np.float64]) -> float:
    """Counted energy that no decision goes below: blocking ones are computed while the device does nothing
    else.
    """
    mw = codec if scenario.decision.mode == "blocking" else codec - idle
    return scenario.decision.latency_ms * float(mw[..., 0].min()) * 1e-3


def _server(scenario: Scenario) -> ServerProfile:
    profile = load_server(scenario.server)
    return profile.model_copy(update={"load": None}) if scenario.server_load == "none" else profile


def _send(
    levels: Levels, encoder_ms_ghz: float, places: tuple[NDArray[np.int64], ...]
) -> NDArray[np.float64]:
    """`send` of the tables for the chosen cuts and levels; the last cut sends nothing and costs nothing.

    `encoder_ms_ghz`: time of an encoding on one core of the device at 1 GHz over its time in the table.
    """
    parts = (levels.bytes * 8e-3, levels.encode_ms * encoder_ms_ghz, levels.decode_ms)
    sent = np.concatenate([np.stack(parts, axis=-1), levels.lost_points], axis=-1)[places]
    return np.concatenate([sent, np.zeros((1, *sent.shape[1:]))])


def _reference_encode_ms(accuracy: AccuracyTable) -> float:
    if accuracy.machine is None:
        raise ConfigError(f"accuracy table {accuracy.name!r}: machine: is missing, so times mean nothing")
    return accuracy.machine.reference_encode_ms


def _clocks(choices: dict[str, tuple[str | float, ...]]) -> Clocks:
    cpu, gpu, mem = (np.array(choices[part], dtype=np.float64) for part in ("cpu_mhz", "gpu_mhz", "mem_mhz"))
    return cpu, gpu, mem


def _head(device: DeviceModel, mapping: str, clocks: Clocks, energy: EnergyDefinition) -> NDArray[np.float64]:
    latency = device.head_latency_ms(mapping, *clocks)
    if device.profile.power is None:
        return np.stack([latency, np.zeros_like(latency), np.zeros_like(latency)], axis=-1)
    counted = device.head_energy_mj(mapping, *clocks, energy)
    board = device.head_energy_mj(mapping, *clocks, "board")
    return np.stack([latency, counted, board], axis=-1)


def _waiting(
    device: DeviceModel, clocks: Clocks, energy: EnergyDefinition
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`idle` and `codec` of the tables; zero where nobody measured power."""
    if device.profile.power is None:
        nothing = np.zeros((*(len(axis) for axis in clocks), 2))
        return nothing, nothing
    kinds: tuple[EnergyDefinition, ...] = (energy, "board")
    idle = np.stack([device.idle_power_mw(*clocks, kind) for kind in kinds], axis=-1)
    codec = np.stack([device.codec_power_mw(*clocks, kind) for kind in kinds], axis=-1)
    return idle, codec


def _refuse_energy_nobody_measured(scenario: Scenario, device: DeviceModel) -> None:
    """A latency-only profile serves scenarios in which energy neither costs nor runs out."""
    if device.profile.power is not None:
        return
    what = f"needs energy, but the profile of {device.profile.name!r} is latency only: nothing measured it"
    if scenario.objective.eta_range[1] > 0.0:
        raise ConfigError(
            f"{scenario.name}: objective.eta: {scenario.objective.eta} {what}; "
            "set it to 0, or give watts by hand (dvfo calibrate csv --idle-mw --busy-mw, "
            "or dvfo profile --idle-watts --cpu-watts for this machine)"
        )
    if scenario.battery is not None:
        raise ConfigError(f"{scenario.name}: battery: {what}; leave it out")
