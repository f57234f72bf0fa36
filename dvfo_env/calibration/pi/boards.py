"""What the sources hold on the Raspberry Pis whose clocks were varied: 2B, 3B+, 4B and Zero 2 W."""

from __future__ import annotations

from dataclasses import dataclass, field

from dvfo_env.calibration.pi.parts import SOFT_LIMIT_SOURCE, THROTTLE_SOURCE, CorePowers, cpu_trip, thermal
from dvfo_env.calibration.pi.pose import pose_source
from dvfo_env.devices.profile import ThermalLaw


@dataclass(frozen=True)
class TwoCores:
    """Another board on which the same core was timed with two threads and with `other` threads."""

    heading: str
    title: str
    other: int
    power_save: int | None = None


A72 = TwoCores("Rockchip RK3399", "an RK3399's A72", 1, 2)
A53 = TwoCores("NanoPi R2S", "an RK3328's A53", 4)


@dataclass(frozen=True)
class Board:
    """What the sources hold on one board, and what is assumed of it. Clocks in MHz."""

    name: str
    title: str
    cluster: str
    pose: str
    heading: str
    table_mhz: float
    cpu_mhz: tuple[float, ...]
    sdram_mhz: float | None
    two_cores: TwoCores
    power: CorePowers
    description: str
    four_cores_up_to_mhz: float | None = None
    stands_in: str = ""
    thermal: ThermalLaw | None = field(default=None)


def _steps(low: int, high: int) -> tuple[float, ...]:
    return tuple(float(mhz) for mhz in range(low, high + 1, 100))


_PIDRAMBLE = "PidRamble power benchmarks (one board of each model, stock Raspbian Lite)"
_ZERO_2 = Board(
    name="raspberry-pi-zero-2w",
    title="Raspberry Pi Zero 2 W (4 x Cortex-A53)",
    cluster="a53",
    pose="pi0",
    heading="Raspberry Pi Zero 2 W",
    table_mhz=1000.0,
    cpu_mhz=_steps(600, 1000),
    sdram_mhz=450.0,
    two_cores=A53,
    power=CorePowers(
        idle_mw=600.0,
        idle_range=(375.0, 700.0),
        four_cores_mw=1900.0,
        four_range=(1400.0, 2500.0),
        at_mhz=1000.0,
        source="cnx-software.com/2021/12/09/raspberry-pi-zero-2-w-power-consumption (Otii Arc) and"
        " andrejacobs.org, Raspberry Pi Zero 2 W temperature and power consumption (USB meter)",
        idle_note="one board on a source meter; range: stripped down, to with peripherals",
        cores_note="1.4 W more than a Zero W under load, which adds about 0.5 W itself; not a neural network",
    ),
    description="CPU only: cores and CPU clock; the SDRAM clock is a firmware setting and pinned at 450 MHz."
    " Whole-network times measured at 1.0 GHz, the clock law on a pose network on this board (no throttling"
    " was seen, so no thermal law); power is assumed.",
)
_PI_2B = Board(
    name="raspberry-pi-2b",
    title="Raspberry Pi 2 Model B (4 x Cortex-A53, v1.2 inferred)",
    cluster="a53",
    pose="pi2b",
    heading="Raspberry Pi Zero 2 W",
    table_mhz=1000.0,
    cpu_mhz=_steps(600, 900),
    sdram_mhz=450.0,
    two_cores=A53,
    power=CorePowers(
        idle_mw=1100.0,
        idle_range=(900.0, 1300.0),
        four_cores_mw=1000.0,
        four_range=(800.0, 1900.0),
        at_mhz=900.0,
        source=_PIDRAMBLE,
        idle_note="one board; range: without HDMI, to another revision",
        cores_note="2.1 - 1.1 W at full load; range: to the Zero 2 W's cores; not a neural network",
    ),
    description="CPU only: cores and CPU clock; the SDRAM clock is a firmware setting and pinned at 450 MHz."
    " The clock law was measured with a pose network on this board; nobody timed the shipped networks on it,"
    " so their times are those of the Zero 2 W, whose cores the pose network finds equally fast. Power is"
    " assumed.",
    stands_in="raspberry-pi-zero-2w",
)
_PI_3B = Board(
    name="raspberry-pi-3b-plus",
    title="Raspberry Pi 3 Model B+ (4 x Cortex-A53)",
    cluster="a53",
    pose="pi3b",
    heading="Raspberry Pi 3 Model B+",
    table_mhz=1400.0,
    cpu_mhz=_steps(600, 1400),
    sdram_mhz=450.0,
    two_cores=A53,
    power=CorePowers(
        idle_mw=1900.0,
        idle_range=(1600.0, 2300.0),
        four_cores_mw=3200.0,
        four_range=(2500.0, 3800.0),
        at_mhz=1400.0,
        source=_PIDRAMBLE,
        idle_note="one board; range: without HDMI and LEDs, to with Ethernet in use",
        cores_note="5.1 - 1.9 W at full load; not a neural network",
    ),
    description="CPU only: cores and CPU clock; the SDRAM clock is a firmware setting and pinned at 450 MHz."
    " Whole-network times measured at a nominal 1.4 GHz; the clock law was fitted on a pose network up to"
    " 1.0 GHz and is extrapolated above, where the bare board throttled; power and heat are assumed.",
    four_cores_up_to_mhz=1000.0,
    thermal=thermal(
        14.5,
        (14.0, 15.2),
        "the pose runs slow down from 1.1 GHz on: 80 degC lies between 3.6 and 3.9 W of this law",
        45.0,
        (
            cpu_trip(60.0, 1200.0, SOFT_LIMIT_SOURCE),
            cpu_trip(80.0, 1000.0, f"{THROTTLE_SOURCE}; the cap is the last clock without slow rows"),
        ),
    ),
)
_PI_4B = Board(
    name="raspberry-pi-4b",
    title="Raspberry Pi 4 Model B (4 x Cortex-A72)",
    cluster="a72",
    pose="pi4b",
    heading="Raspberry Pi 4 Model B",
    table_mhz=1800.0,
    cpu_mhz=_steps(600, 1500),
    sdram_mhz=None,
    two_cores=A72,
    power=CorePowers(
        idle_mw=2400.0,
        idle_range=(1700.0, 3000.0),
        four_cores_mw=3000.0,
        four_range=(2400.0, 4000.0),
        at_mhz=1500.0,
        source="chipwired.com/raspberry-pi-power-use"
        " (one Pi 4B, two USB meters: 2.4 and 2.3 W quiet, 5.4 and 5.1 W at high CPU load)",
        idle_note="one board on USB meters; range: without Wi-Fi, to a wall meter with its supply",
        cores_note="5.4 - 2.4 W with four cores at 1.5 GHz; that load was not a neural network",
    ),
    description="CPU only: cores and CPU clock (the SDRAM clock, a firmware setting, showed no effect)."
    " Whole-network times measured at 1.8 GHz; the clock law was fitted on a pose network on this board,"
    " power and thermal constants are assumed.",
    four_cores_up_to_mhz=1200.0,
    thermal=thermal(
        11.0,
        (10.0, 12.5),
        "the pose runs throttled at 1.5 GHz, not at 1.2: 80 degC lies between 4.4 and 5.4 W of this law",
        45.0,
        (
            cpu_trip(
                80.0,
                1200.0,
                f"{THROTTLE_SOURCE}; the cap is the clock at which the law matches the throttled rows of "
                + pose_source("pi4b"),
            ),
        ),
    ),
)
BOARDS = (_PI_2B, _PI_3B, _PI_4B, _ZERO_2)
