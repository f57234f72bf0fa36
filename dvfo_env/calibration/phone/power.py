"""Power of a phone, which nobody measured: assumed from cores that somebody did measure."""

from __future__ import annotations

from dvfo_env.calibration.pi.power import A15_SOURCE, PI5_SOURCE, CoreShare
from dvfo_env.devices.profile import CorePower, Fit, GpuPower, PowerLaw, PowerTerms
from dvfo_env.schema import Coefficient

_UNMEASURED = "no measurement of a phone's compute power in the sources"
_SCREEN_ON = (
    "SIGCOMM21-5G/artifact@35aaf2857550c7f4c736fe9b01e894253a777e4e:"
    "Power-Model/MI-Wild/data-processed (whole-phone less radio power)"
)
_SCREEN_ON_MW = 2340.0
_BIG_MW = 800.0
_OF_BIG = {"big": 1.0, "mid": 0.625, "little": 0.2}
_WHY = {
    "big": "half of that for a 7 to 10 nm core of the same rank; range: a quarter to all of it",
    "mid": "a big core at a lower clock: five eighths of its half; range as a big core's",
    "little": "a fifth of a big core: such cores are 2.5 times slower and still save energy",
}


def phone_power(clusters: tuple[str, ...], share: CoreShare, core_mw: float) -> PowerLaw:
    """Power by cluster of cores and GPU.

    `core_mw` is what one busy Cortex-A76 of a Raspberry Pi 5 (16 nm, 2.4 GHz) was measured to add; `share`
    how the power of one busy core splits into its cluster's and its own.
    """
    anchor = f"a Cortex-A76 (16 nm, 2.4 GHz) running networks was measured at {core_mw:.0f} mW"
    split = f"{100 * share.cluster_share:.0f} % of one busy core is the cluster's, as measured on an A15"
    source = f"{PI5_SOURCE}; {A15_SOURCE}"
    cores = {}
    for cluster in clusters:
        one = _BIG_MW * _OF_BIG[cluster]
        low, high = (0.25 * core_mw * _OF_BIG[cluster], core_mw * _OF_BIG[cluster])

        def part(
            of_one: float, note: str, one: float = one, span: tuple[float, float] = (low, high)
        ) -> Coefficient:
            return _assumed(one * of_one, (span[0] * of_one, span[1] * of_one), note, source)

        cores[cluster] = CorePower(
            core_mw=part(1.0 - share.cluster_share, f"{anchor}; {_WHY[cluster]}; {split}"),
            cluster_mw=part(share.cluster_share, f"{_WHY[cluster]}; {split}"),
        )
    terms = PowerTerms(
        base_mw=_assumed(
            700.0,
            (300.0, _SCREEN_ON_MW),
            "the phone awake with its screen off; upper end: another phone measured with its screen on",
            _SCREEN_ON,
        ),
        cores=cores,
        gpu=GpuPower(
            busy_mw=_assumed(
                1900.0, (800.0, 3200.0), "of the order of three big cores; range: one to four", _UNMEASURED
            )
        ),
        fit=Fit(points=0, conditions="nobody measured this phone's power: all assumed"),
    )
    return PowerLaw(meter="none", board=terms)


def driving_core() -> Coefficient:
    """How many cores a phone's GPU keeps busy on average."""
    return Coefficient(
        value=0.3,
        unit="cores",
        evidence="assumed",
        source=_UNMEASURED,
        range=(0.05, 1.0),
        note="the core hands kernels over and waits; range: hardly busy, to busy all the time",
    )


def _assumed(value: float, span: tuple[float, float], note: str, source: str) -> Coefficient:
    return Coefficient(
        value=round(value, 1),
        unit="mW",
        evidence="assumed",
        source=source,
        range=(round(span[0], 1), round(span[1], 1)),
        note=note,
    )
