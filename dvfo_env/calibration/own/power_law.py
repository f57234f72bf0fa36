"""The power law of a profile from a user's table: measured figures, fitted ones, and what is taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dvfo_env.calibration.own import power as csv_power
from dvfo_env.calibration.own.board import Board
from dvfo_env.calibration.own.choices import Choices
from dvfo_env.calibration.own.hand_power import power_by_hand
from dvfo_env.calibration.own.records import card_of, conditions, fit_record, known
from dvfo_env.calibration.own.table import IDLE, Row
from dvfo_env.devices.profile import CorePower, GpuPower, PowerLaw, PowerTerms, VoltageCurve
from dvfo_env.devices.profile import Mapping as DeviceMapping
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.schema import Coefficient


def board_power(
    rows: Sequence[Row],
    board: Board,
    choices: Choices,
    places: Mapping[str, DeviceMapping],
    source: str,
) -> tuple[PowerLaw | None, csv_power.PowerFit | None]:
    """Power of a board and the fit behind it; (None, None) where nothing says it: latency only.

    Raises:
        MeasurementError: too few points, or the waiting board was not measured.
        ConfigError: figures by hand that cannot be, or beside measured ones.
    """
    measured = [row for row in rows if row.power_mw is not None and row.workload != IDLE]
    idle = csv_power.idle_power([row for row in rows if row.workload == IDLE])
    by_hand = bool(choices.busy_mw)
    if measured and by_hand:
        raise ConfigError("busy power by hand: the table has power_mw; use one or the other")
    if by_hand:
        return power_by_hand(choices.idle_mw, choices.busy_mw, places, board, choices.meter), None
    if not measured:
        return None, None
    if not idle and choices.idle_mw is not None:
        idle = {0.0: choices.idle_mw}
    if not idle:
        raise MeasurementError(
            "power: the waiting board was not measured; add a row with workload idle and power_mw, or give "
            "--idle-mw"
        )
    cards = {name: card_of(name) for name in {row.workload for row in measured}}
    traffic = {name: float(card.traffic_bytes.sum()) / 1e9 for name, card in cards.items() if card}
    fit = csv_power.fit_power(measured, idle, board, traffic)
    return _power_law(fit, board, choices, places, source), fit


def _power_law(
    fit: csv_power.PowerFit,
    board: Board,
    choices: Choices,
    places: Mapping[str, DeviceMapping],
    source: str,
) -> PowerLaw:
    shared: dict[str, Any] = {
        "evidence": "fitted",
        "source": source,
        "error_percent": known(fit.errors.fit),
        "holdout_error_percent": known(fit.errors.holdout),
    }
    assumed: dict[str, Any] = {"evidence": "assumed", "source": source}
    measured: dict[str, Any] = {"evidence": "measured", "source": source, "note": "median of the idle rows"}
    if list(fit.idle_mw) == [0.0] and choices.idle_mw == fit.idle_mw[0.0]:
        low_high = (0.8 * choices.idle_mw, 1.2 * choices.idle_mw)
        measured = {"evidence": "assumed", "source": "given by hand", "range": low_high, "note": "by hand"}
    value = fit.values
    clocks = list(fit.idle_mw)
    at = np.interp(board.mem_mhz or (0.0,), clocks, list(fit.idle_mw.values()))
    core = CorePower(
        core_mw=Coefficient(value=value["core_mw"], unit="mW", **shared),
        reference_mhz=board.cpu_mhz[-1] if board.cpu_mhz else None,
    )
    gpu = None
    if fit.form.gpu:
        top = board.gpu_mhz[-1] if board.gpu_mhz else None
        gpu = GpuPower(
            busy_mw=Coefficient(value=value["busy_mw"], unit="mW", **shared),
            reference_mhz=top,
            voltage=_gpu_voltage(fit, top, shared, assumed) if top else None,
        )
    elif any(place.kind == "gpu" for place in places.values()):
        raise MeasurementError("power: rows on the GPU have no power_mw, those on CPU cores have; add it")
    traffic = value.get("traffic")
    terms = PowerTerms(
        base_mw=Coefficient(value=float(at[0]), unit="mW", **measured),
        mem_idle_mw=_memory_steps(board, clocks, at, source),
        cores={place.cluster: core for place in places.values()},
        gpu=gpu,
        traffic_mw_per_gbs=None
        if traffic is None
        else Coefficient(value=traffic, unit="mW/(GB/s)", **shared, note="traffic by the workload cards"),
        activity={
            name: Coefficient(value=value[name], unit="1", **shared) for name in fit.form.workloads[1:]
        },
        fit=fit_record(len(fit.rows), fit.errors, fit.method, conditions(fit.rows)),
    )
    return PowerLaw(meter=choices.meter, board=terms, cpu_voltage=_cpu_voltage(fit, shared))


def _memory_steps(
    board: Board, clocks: list[float], at: npt.NDArray[np.float64], source: str
) -> tuple[Coefficient, ...] | None:
    """What each memory clock adds to the waiting board's power; `at` holds that power at every one (mW)."""
    if not board.mem_mhz or len(clocks) < 2:
        return None
    return tuple(
        Coefficient(
            value=float(level - at[0]),
            unit="mW",
            evidence="measured" if mhz in clocks else "fitted",
            source=source,
            note="median of the idle rows" if mhz in clocks else "linear between measured memory clocks",
        )
        for mhz, level in zip(board.mem_mhz, at, strict=True)
    )


def _gpu_voltage(
    fit: csv_power.PowerFit, top_mhz: float, shared: Mapping[str, Any], assumed: Mapping[str, Any]
) -> VoltageCurve:
    knee, slope = csv_power.voltage_of(fit.values, fit.form, top_mhz / 1000.0)
    elsewhere = {
        **assumed,
        "range": (0.4 * top_mhz / 1000.0, 0.8 * top_mhz / 1000.0),
        "note": "the Jetson TX2's share of its highest clock; five GPU clocks with power would tell",
    }
    flat = {**assumed, "range": (0.0, 0.8), "note": "no rise assumed; three GPU clocks with power would tell"}
    return VoltageCurve(
        knee_ghz=Coefficient(value=knee, unit="GHz", **(shared if fit.form.gpu_knee else elsewhere)),
        slope_per_ghz=Coefficient(value=slope, unit="1/GHz", **(shared if fit.form.gpu_slope else flat)),
    )


def _cpu_voltage(fit: csv_power.PowerFit, shared: Mapping[str, Any]) -> VoltageCurve:
    a15: dict[str, Any] = {
        "evidence": "assumed",
        "source": "kranik/ARMPM_BUILDMODEL, Cortex-A15: 0.90, 1.00, 1.176 V at 1.0, 1.4, 1.8 GHz",
        "note": "another core's curve stands in; three CPU clocks with power on CPU cores would tell",
    }
    slope: dict[str, Any] = dict(shared) if fit.form.cpu_slope else {**a15, "range": (0.2, 0.5)}
    return VoltageCurve(
        knee_ghz=Coefficient(value=csv_power.A15_KNEE_GHZ, unit="GHz", range=(0.8, 1.2), **a15),
        slope_per_ghz=Coefficient(
            value=fit.values.get("cpu_slope", csv_power.A15_SLOPE), unit="1/GHz", **slope
        ),
    )
