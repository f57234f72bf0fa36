"""Radio power: the straight line through measured (rate, power) samples, and the laws assumed where
none exist.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import MeasurementError
from dvfo_env.schema import Coefficient, Record
from dvfo_env.uplinks.interface import RadioPower

Floats = NDArray[np.float64]


class PowerLaw(Record):
    """Power in mW = `base_mw` + `mw_per_mbps` x rate in Mbit/s, with its mean absolute errors in per cent.

    `holdout_error_percent` comes from leaving out one target rate at a time; `max_rate_mbps` is the
    highest rate among the samples.
    """

    base_mw: float
    mw_per_mbps: float
    max_rate_mbps: float
    error_percent: float
    holdout_error_percent: float


def fit_power_law(target_mbps: Floats, rate_mbps: Floats, power_mw: Floats) -> PowerLaw:
    """Least squares on relative error over arrays [n]; whole target rates are held back, since the
    seconds of one run resemble each other.

    Raises:
        MeasurementError: fewer than three target rates.
    """
    targets = np.unique(target_mbps)
    if len(targets) < 3:
        raise MeasurementError(f"radio power: {len(targets)} target rates; at least 3 are needed for a line")
    held = []
    for target in targets:
        out = target_mbps == target
        held.append(_relative_errors(_line(rate_mbps[~out], power_mw[~out]), rate_mbps[out], power_mw[out]))
    line = _line(rate_mbps, power_mw)
    return PowerLaw(
        base_mw=float(line[0]),
        mw_per_mbps=float(line[1]),
        max_rate_mbps=float(rate_mbps.max()),
        error_percent=100.0 * float(_relative_errors(line, rate_mbps, power_mw).mean()),
        holdout_error_percent=100.0 * float(np.concatenate(held).mean()),
    )


def _line(rate_mbps: Floats, power_mw: Floats) -> Floats:
    design = np.stack([1.0 / power_mw, rate_mbps / power_mw], axis=1)
    solution = np.linalg.lstsq(design, np.ones(len(power_mw)), rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def _relative_errors(line: Floats, rate_mbps: Floats, power_mw: Floats) -> Floats:
    errors: Floats = np.abs((line[0] + line[1] * rate_mbps) / power_mw - 1.0)
    return errors


def implied_base_mw(law: PowerLaw, rate_mbps: Floats, net_power_mw: Floats) -> Floats:
    """What must be taken off `law` (whole phone) to meet samples of power above the base, at their
    rates, mW [n].
    """
    inside = (rate_mbps > 5.0) & (rate_mbps < law.max_rate_mbps)
    result: Floats = law.base_mw + law.mw_per_mbps * rate_mbps[inside] - net_power_mw[inside]
    return result


def measured_radio(
    uplink: PowerLaw, downlink: PowerLaw, base_mw: tuple[float, float, float], source: str
) -> RadioPower:
    """Radio power above the idle device from two whole-phone laws and the (low, middle, high) base of
    that phone.
    """
    low, middle, high = base_mw

    def base(law: PowerLaw) -> Coefficient:
        return Coefficient(
            value=round(law.base_mw - middle, 1),
            unit="mW",
            evidence="fitted",
            source=source,
            error_percent=round(law.error_percent, 2),
            holdout_error_percent=round(law.holdout_error_percent, 2),
            range=(round(law.base_mw - high, 1), round(law.base_mw - low, 1)),
            note=f"whole phone {law.base_mw:.0f} mW less a base of {middle:.0f} ({low:.0f}-{high:.0f}) mW",
        )

    def slope(law: PowerLaw) -> Coefficient:
        return Coefficient(
            value=round(law.mw_per_mbps, 2),
            unit="mW per Mbit/s",
            evidence="fitted",
            source=source,
            error_percent=round(law.error_percent, 2),
            holdout_error_percent=round(law.holdout_error_percent, 2),
            note=f"samples up to {law.max_rate_mbps:.0f} Mbit/s",
        )

    return RadioPower(
        transmit_base_mw=base(uplink),
        transmit_mw_per_mbps=slope(uplink),
        receive_base_mw=base(downlink),
        receive_mw_per_mbps=slope(downlink),
    )


def assumed_wifi_radio() -> RadioPower:
    """Wi-Fi, for want of power measurements during Wi-Fi transfers.

    The Wi-Fi rail of a Jetson TX2 (tegrastats, VDD_4V0_WIFI) reads 0 mW on 95 % of 12,663 seconds of
    idle radio and 290 to 384 mW in its bursts; the rate in the bursts was not recorded.
    """
    source = (
        "assumed; TX2 Wi-Fi rail bursts of 290-384 mW in thynics/jetson_dvfs tegrastats logs, rate unknown"
    )

    def coefficient(value: float, unit: str, limits: tuple[float, float], note: str) -> Coefficient:
        return Coefficient(value=value, unit=unit, evidence="assumed", source=source, range=limits, note=note)

    bursts = "the level of the bursts; a higher output power or more antennas cost more"
    amplifier = "about 1 W in all at 60 Mbit/s, the order of a module's rated maximum"
    return RadioPower(
        transmit_base_mw=coefficient(350.0, "mW", (290.0, 1300.0), bursts),
        transmit_mw_per_mbps=coefficient(10.0, "mW per Mbit/s", (0.0, 30.0), amplifier),
        receive_base_mw=coefficient(300.0, "mW", (200.0, 1000.0), bursts),
        receive_mw_per_mbps=coefficient(5.0, "mW per Mbit/s", (0.0, 15.0), "half the sending slope"),
    )


def relabelled(radio: RadioPower, note: str) -> RadioPower:
    """The same figures as an assumption about another radio; `note` says why they stand in."""
    change = {"evidence": "assumed", "note": note, "error_percent": None, "holdout_error_percent": None}
    return RadioPower(
        transmit_base_mw=radio.transmit_base_mw.model_copy(update=change),
        transmit_mw_per_mbps=radio.transmit_mw_per_mbps.model_copy(update=change),
        receive_base_mw=radio.receive_base_mw.model_copy(update=change),
        receive_mw_per_mbps=radio.receive_mw_per_mbps.model_copy(update=change),
    )
