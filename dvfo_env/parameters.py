"""Every scalar of a compiled scenario, as one record that the kernels read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.accuracy.levels import Levels
from dvfo_env.devices import DeviceModel
from dvfo_env.errors import ConfigError
from dvfo_env.scenario import Scenario
from dvfo_env.uplinks import Uplink

MAX_TRIPS = 4
MAX_CLASSES = 16  # of difficulty

#: Values of `decision_mode`.
FREE, BLOCKING, CONCURRENT = range(3)

#: CPU, GPU and memory clocks of the action, MHz.
Clocks = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

PARAMS = np.dtype(
    [
        ("latency_weight_per_ms", "f8"),  # multiplied by (1 - eta)
        ("energy_weight_per_mj", "f8"),  # multiplied by eta
        ("accuracy_weight_per_point", "f8"),
        ("deadline_weight", "f8"),
        ("eta_low", "f8"),
        ("eta_high", "f8"),
        ("poisson", "i8"),
        ("period_ms", "f8"),
        ("deadline_ms", "f8"),
        ("queue_limit_ms", "f8"),
        ("drop_latency_cost", "f8"),  # multiplied by (1 - eta)
        ("drop_energy_cost", "f8"),  # multiplied by eta
        ("offload_timeout_ms", "f8"),
        ("monitor_ms", "f8"),  # infinity where the link is not monitored
        ("radio_base_mw", "f8"),
        ("radio_mw_per_mbps", "f8"),
        ("radio_wait_mw", "f8"),
        ("answer_ms", "f8"),
        ("cpu_delay_ms", "f8"),
        ("gpu_delay_ms", "f8"),
        ("mem_delay_ms", "f8"),
        ("cpu_rank", "i8"),  # place of each clock domain among the three by delay
        ("gpu_rank", "i8"),
        ("mem_rank", "i8"),
        ("delay_of_rank_ms", "f8", (3,)),
        ("thermal", "i8"),
        ("ambient_c", "f8"),
        ("start_c", "f8"),
        ("resistance_c_per_w", "f8"),
        ("time_constant_ms", "f8"),
        ("n_trips", "i8"),
        ("trip_c", "f8", (MAX_TRIPS,)),
        ("release_c", "f8", (MAX_TRIPS,)),
        ("trip_is_gpu", "i8", (MAX_TRIPS,)),
        ("trip_cap_index", "i8", (MAX_TRIPS,)),
        ("battery_mj", "f8"),  # infinity where there is none
        ("bank_step_ms", "f8"),
        ("episode_requests", "i8"),
        ("wait_floor_mw", "f8"),  # least counted power of waiting over all clocks
        ("n_classes", "i8"),  # of difficulty
        ("class_edge", "f8", (MAX_CLASSES,)),  # a uniform draw below this is of the class, hardest first
        ("decision_mode", "i8"),
        ("decision_ms", "f8"),
        ("decision_floor_mj", "f8"),  # least counted energy of a decision over all clocks
        ("slowest_ms", "f8"),  # slowest head and encoding of all: how far ahead a search has to look
    ]
)


def scalar_parameters(
    scenario: Scenario,
    device: DeviceModel,
    uplink: Uplink,
    clocks: Clocks,
    reference: NDArray[np.float64],
    levels: Levels,
) -> NDArray[np.void]:
    """PARAMS [1] of a scenario, but for what only the arrays tell (`wait_floor_mw`, `decision_floor_mj`,
    `slowest_ms`).

    `reference`: latency_ms, counted energy_mj and board energy_mj of the device out of the box.

    Raises:
        ConfigError: more trip points or classes of difficulty than the record has room for.
    """
    objective, requests = scenario.objective, scenario.requests
    params = np.zeros(1, dtype=PARAMS)
    p = params[0]
    latency_ms, energy_mj = float(reference[0]), float(reference[1])
    if objective.cost == "dvfo":
        # eta*E + (1-eta)*P_max*L over P_max*L_ref: P_max is the power of the out-of-the-box run [mW = mJ/s]
        energy_mj = float(reference[2])
    p["latency_weight_per_ms"] = 1.0 / latency_ms
    p["energy_weight_per_mj"] = 1.0 / energy_mj if energy_mj > 0.0 else 0.0  # latency only: eta is 0
    p["accuracy_weight_per_point"] = objective.accuracy_weight_per_point
    p["deadline_weight"] = objective.deadline_weight
    p["eta_low"], p["eta_high"] = objective.eta_range
    p["poisson"] = requests.arrival == "poisson"
    p["period_ms"] = requests.period_ms
    p["deadline_ms"] = requests.deadline_ms
    p["queue_limit_ms"] = requests.queue_limit_ms
    p["drop_latency_cost"] = requests.queue_limit_ms / latency_ms
    p["drop_energy_cost"] = 1.0
    p["offload_timeout_ms"] = scenario.offload_timeout_ms
    p["monitor_ms"] = np.inf if scenario.link_monitor_ms is None else scenario.link_monitor_ms
    p["radio_base_mw"] = uplink.radio.transmit_base_mw.value
    p["radio_mw_per_mbps"] = uplink.radio.transmit_mw_per_mbps.value
    p["radio_wait_mw"] = uplink.radio.receive_base_mw.value
    p["answer_ms"] = device.card.answer_bytes * 8e-3 / uplink.downlink_mbps
    p["cpu_delay_ms"], p["gpu_delay_ms"], p["mem_delay_ms"] = device.effect_delay_ms
    by_delay = np.argsort(device.effect_delay_ms, kind="stable")
    p["cpu_rank"], p["gpu_rank"], p["mem_rank"] = np.argsort(by_delay)
    p["delay_of_rank_ms"] = np.array(device.effect_delay_ms)[by_delay]
    p["battery_mj"] = scenario.battery.capacity_mj if scenario.battery else np.inf
    p["bank_step_ms"] = uplink.step_ms
    p["episode_requests"] = scenario.episode_requests
    p["decision_mode"] = {"free": FREE, "blocking": BLOCKING, "concurrent": CONCURRENT}[
        scenario.decision.mode
    ]
    p["decision_ms"] = scenario.decision.latency_ms
    _thermal_params(p, scenario, device, clocks)
    _class_params(p, levels, scenario)
    return params


def _thermal_params(p: np.void, scenario: Scenario, device: DeviceModel, clocks: Clocks) -> None:
    law = device.profile.thermal
    if law is None:
        p["thermal"] = False
        p["start_c"] = p["ambient_c"] = scenario.thermal.ambient_c or 25.0
        p["time_constant_ms"] = 1.0
        return
    ambient = law.ambient_c.value if scenario.thermal.ambient_c is None else scenario.thermal.ambient_c
    p["thermal"] = scenario.thermal.enabled
    p["ambient_c"] = ambient
    p["start_c"] = max(law.start_c, ambient)
    p["resistance_c_per_w"] = law.resistance_c_per_w.value
    p["time_constant_ms"] = law.time_constant_s.value * 1000.0
    if len(law.trips) > MAX_TRIPS:
        raise ConfigError(f"{device.profile.name}: thermal.trips: at most {MAX_TRIPS} are supported")
    p["n_trips"] = len(law.trips)
    for i, trip in enumerate(law.trips):
        axis = clocks[1] if trip.domain == "gpu" else clocks[0]
        p["trip_c"][i] = trip.temperature_c
        p["release_c"][i] = trip.release_c
        p["trip_is_gpu"][i] = trip.domain == "gpu"
        p["trip_cap_index"][i] = max(int(np.searchsorted(axis, trip.max_mhz, side="right")) - 1, 0)


def _class_params(p: np.void, levels: Levels, scenario: Scenario) -> None:
    shares = levels.shares
    if len(shares) > MAX_CLASSES:
        raise ConfigError(f"{scenario.accuracy}: difficulty: at most {MAX_CLASSES} classes are supported")
    p["n_classes"] = len(shares)
    p["class_edge"][: len(shares)] = np.cumsum(shares)
