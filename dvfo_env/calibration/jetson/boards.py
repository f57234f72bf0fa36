"""What is known of each Jetson besides its measurements: clocks, cores, which data exist, assumed power."""

from __future__ import annotations

from typing import NamedTuple

from dvfo_env.devices.profile import ClockDomain, CopyCost, Mapping, Meter, VoltageCurve
from dvfo_env.schema import Coefficient

CLUSTER = "cpu"
DELAY_SOURCE = (
    "arXiv 2606.16106, abstract: a new point takes 1 ms (CPU), 5 ms (GPU), 8 ms (memory) to take effect"
)


class Guess(NamedTuple):
    """A coefficient nobody measured: value, lowest and highest plausible value, and why."""

    value: float
    low: float
    high: float
    why: str


class Board(NamedTuple):
    """One board. Clocks in MHz, ascending; power in mW, at the highest clocks.

    `ncnn` is the heading of its section in the ncnn tables, `like` the board whose laws stand in where there
    is none, `triton` its name in the Triton grid. `threads` are the CPU mappings. `base`, `core` and
    `gpu_busy` are None where they are fitted.
    """

    name: str
    title: str
    cores: int
    cpu_mhz: tuple[float, ...]
    gpu_mhz: tuple[float, ...]
    mem_mhz: tuple[float, ...]
    clocks_source: str
    threads: tuple[int, ...]
    meter: Meter
    core: Guess
    mem_step: Guess
    ncnn: str = ""
    gpu_threads: int = 1
    like: str = ""
    triton: str = ""
    base: Guess | None = None
    gpu_busy: Guess | None = None
    about: str = ""

    @property
    def top_mhz(self) -> tuple[float, float, float]:
        """Highest CPU, GPU and memory clock."""
        return self.cpu_mhz[-1], self.gpu_mhz[-1], self.mem_mhz[-1]


def _steps(first: float, last: float, *above: float) -> tuple[float, ...]:
    """CPU clocks from `first` in steps of 76.8 MHz up to `last`, then those above."""
    count = round((last - first) / 76.8) + 1
    return (*(round(first + 76.8 * k, 1) for k in range(count)), *above)


_HALF = "the lower half of the memory clocks is left out: no memory law was ever checked there"

NANO = Board(
    name="jetson-nano",
    title="NVIDIA Jetson Nano",
    about="Latency and wall power of MobileNetV2 over the GPU clock are measured; other networks at one "
          "setting.",
    cores=4,
    cpu_mhz=(
        102.0, 204.0, 307.2, 403.2, 518.4, 614.4, 710.4, 825.6, 921.6, 1036.8, 1132.8, 1224.0, 1326.0,
        1428.0, 1479.0,
    ),
    gpu_mhz=(76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6, 614.4, 691.2, 768.0, 844.8, 921.6),
    mem_mhz=(800.0, 1065.6, 1331.2, 1600.0),
    clocks_source=(
        "ZexinLi0w0/TetraRL:tetrarl/sys/platforms.py (CPU, GPU); memory: the list of the TX1, same tegra210; "
        f"{_HALF}"
    ),
    threads=(4, 1),
    meter="wall socket",
    ncnn="NVIDIA Jetson Nano",
    triton="nano",
    core=Guess(700, 300, 1100, "a Cortex-A57 at 1.48 GHz; the TX2's A57 takes 600 mW (300-1119) at 2.04 "
                               "GHz on its "
               "rail, more at a wall socket"),
    mem_step=Guess(150, 50, 300, "quiet idle of the TX2's twice as wide memory rises by 1353 mW from 1062 "
                                 "to 1866 "
                   "MHz; bounded here by the 0.5 W between idle and the fitted base"),
)  # fmt: skip

AGX_XAVIER = Board(
    name="jetson-agx-xavier",
    title="NVIDIA Jetson AGX Xavier",
    about="Latency and wall power of MobileNetV2 over the GPU clock are measured; other networks at one "
          "setting.",
    cores=8,
    cpu_mhz=_steps(115.2, 2265.6),
    gpu_mhz=(
        114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 675.75, 828.75, 905.25, 1032.75, 1198.5, 1236.75,
        1338.75, 1377.0,
    ),
    mem_mhz=(1065.6, 1331.2, 1600.0, 1866.0, 2133.0),
    clocks_source=f"HazemAbdelhafez/variability:pyutils/hosts/agx.py; {_HALF}",
    threads=(8, 4, 1),
    meter="wall socket",
    ncnn="NVIDIA Jetson AGX Xavier",
    triton="agx",
    core=Guess(1500, 700, 2500, "a Carmel core at 2.27 GHz; NVIDIA's power modes give 8 cores 1.2 GHz "
                                "within 30 W "
               "together with the GPU, 2 cores 1.2 GHz within 10 W"),
    mem_step=Guess(500, 200, 900, "quiet idle of the TX2's memory rises by 1353 mW from 1062 to 1866 MHz; "
                                  "bounded "
                   "here by the 1.5 W between idle and the fitted base"),
)  # fmt: skip

XAVIER_NX = Board(
    name="jetson-xavier-nx",
    title="NVIDIA Jetson Xavier NX",
    about=(
        "No latency of the catalogue's networks is published over its clocks: laws are those of the AGX "
        "Xavier (same "
        "cores and GPU family) scaled by GPU cores and memory width. Power is fitted to nine power modes."
    ),
    cores=6,
    cpu_mhz=_steps(115.2, 1881.6, 1907.2),
    gpu_mhz=(
        114.75, 204.0, 306.0, 408.0, 510.0, 599.25, 701.25, 752.25, 803.25, 854.25, 905.25, 956.25, 1007.25,
        1058.25, 1109.25,
    ),
    mem_mhz=(1600.0, 1866.0),
    clocks_source="x123y123/project:RL_DVFS/README.md; memory: caps of NVIDIA's 10-15 W and 20 W modes",
    threads=(4, 1),
    meter="module input",
    like="jetson-agx-xavier",
    core=Guess(1000, 400, 1700, "a Carmel core as on the AGX Xavier (700-2500 mW at 2.27 GHz) at 1.9 GHz; "
                                "modes with "
               "2, 4 and 6 cores on differ by less than 5 % where the GPU works"),
    mem_step=Guess(835, 300, 1700, "quiet idle of the TX2's memory (same width) rises by 835 mW from 1600 "
                                   "to 1866 MHz"),
)  # fmt: skip

ORIN_NANO = Board(
    name="jetson-orin-nano",
    title="NVIDIA Jetson Orin Nano 8GB",
    about="Whole networks are measured at one setting (before the Super firmware); nobody published power "
          "per clock.",
    cores=6,
    cpu_mhz=_steps(115.2, 1497.6, 1510.4),
    gpu_mhz=(306.0, 408.0, 510.0, 612.0, 624.75),
    mem_mhz=(2133.0, 3199.0),
    clocks_source="ZexinLi0w0/TetraRL:tetrarl/sys/platforms.py (R35.4.1); memory: arXiv 2606.16106, abstract",
    threads=(6, 1),
    meter="none",
    ncnn="NVIDIA Jetson Orin Nano",
    core=Guess(600, 250, 1000, "six A78AE cores and the GPU share a 15 W module; middle of a third to all "
                               "of what is "
               "left beside the GPU and idle"),
    mem_step=Guess(800, 200, 1500, "quiet idle of the TX2's memory (same width) rises by 1353 mW from "
                                   "1062 to 1866 MHz"),
    base=Guess(4000, 2500, 6000, "idle of a 15 W module with its clocks up; the TX2 takes 3.4 W"),
    gpu_busy=Guess(6500, 4000, 9000, "what a 15 W module leaves for the GPU beside idle and one core"),
)  # fmt: skip

ORIN_AGX = Board(
    name="jetson-orin-agx",
    title="NVIDIA Jetson AGX Orin",
    about="Whole networks are measured at one setting; nobody published power per clock.",
    cores=12,
    cpu_mhz=_steps(268.8, 2112.0, 2201.6),
    gpu_mhz=(
        114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 726.75, 828.75, 930.75, 1032.75, 1134.75,
        1236.75, 1300.5,
    ),
    mem_mhz=(2133.0, 3199.0),
    clocks_source=f"public listings of available_frequencies of two units; {_HALF}",
    threads=(12, 4, 1),
    meter="none",
    ncnn="NVIDIA Jetson AGX Orin",
    core=Guess(1200, 500, 2000, "twelve A78AE cores in a module of up to 60 W; twice the Orin Nano's at "
                                "1.5 times its "
               "clock"),
    mem_step=Guess(1500, 400, 3000, "quiet idle of the TX2's half as wide memory rises by 1353 mW from "
                                    "1062 to 1866 MHz"),
    base=Guess(9000, 6000, 14000, "idle of a 60 W module with its clocks up; the AGX Xavier takes 9.1 W "
                                  "at the wall"),
    gpu_busy=Guess(20000, 10000, 35000, "mlcommons/inference_results_v3.0: 22.7 W submitted and 29.9 W "
                                        "reproduced for the whole "
                   "module with the GPU and two DLAs full, in an efficient mode; 60 W is the limit"),
)  # fmt: skip

TX2_NX = Board(
    name="jetson-tx2-nx",
    title="NVIDIA Jetson TX2 NX",
    about="The TX2's chip on a smaller module: whole networks are measured at one setting, the rest is "
          "the TX2's.",
    cores=6,
    cpu_mhz=(345.6, 499.2, 652.8, 806.4, 960.0, 1113.6, 1267.2, 1420.8, 1574.4, 1728.0, 1881.6, 2035.2),
    gpu_mhz=(
        114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 726.75, 854.25, 930.75, 1032.75, 1122.0,
        1236.75, 1300.5,
    ),
    mem_mhz=(1062.4, 1331.2, 1600.0),
    clocks_source="the TX2's tables (same chip); its memory stops at 1600 MHz (NVIDIA, Jetson TX2 NX)",
    threads=(6, 1),
    meter="none",
    ncnn="NVIDIA Jetson TX2 NX",
    like="jetson-tx2",
    core=Guess(600, 300, 1119, "the TX2's core, same chip"),
    mem_step=Guess(518, 200, 700, "the TX2's quiet idle from 1062 to 1600 MHz"),
    base=Guess(1900, 1300, 2500, "the TX2's quiet idle at 1062 MHz is 2.0 W on a larger module"),
    gpu_busy=Guess(6500, 4500, 8500, "the TX2's board at 1300 MHz is 8-12 W above idle with memory at "
                                     "1866 MHz"),
)  # fmt: skip

BOARDS = (NANO, AGX_XAVIER, XAVIER_NX, ORIN_NANO, ORIN_AGX, TX2_NX)


def clock_domains(board: Board) -> tuple[ClockDomain, ClockDomain, ClockDomain]:
    """CPU, GPU and memory clocks with the time until a new one takes effect."""
    note = "stated for the Orin Nano" + (
        "" if board is ORIN_NANO else "; taken over, nobody published it for this board"
    )

    def delay(ms: float, low: float, high: float) -> Coefficient:
        return Coefficient(
            value=ms, unit="ms", evidence="assumed", source=DELAY_SOURCE, range=(low, high), note=note
        )

    source = board.clocks_source
    return (
        ClockDomain(mhz=board.cpu_mhz, effect_delay_ms=delay(1.0, 0.1, 2.0), source=source),
        ClockDomain(mhz=board.gpu_mhz, effect_delay_ms=delay(5.0, 1.0, 20.0), source=source),
        ClockDomain(mhz=board.mem_mhz, effect_delay_ms=delay(8.0, 1.0, 20.0), source=source),
    )


def mappings(board: Board, runtime: str) -> dict[str, Mapping]:
    """The GPU driven by one core, then so many CPU cores."""
    waiting = Coefficient(
        value=0.3, unit="cores", evidence="assumed", source="no CPU load was recorded", range=(0.1, 1.0),
        note="the core that drives the GPU launches kernels and waits for them; 1 if it polls",
    )  # fmt: skip
    found = {
        "gpu": Mapping(
            kind="gpu",
            cluster=CLUSTER,
            threads=1,
            busy_cores=waiting,
            title=f"GPU, {runtime}, driven by one CPU core",
        )
    }
    for threads in board.threads:
        title = "one core, ncnn" if threads == 1 else f"{threads} cores, ncnn"
        found[f"cpu{threads}"] = Mapping(kind="cpu", cluster=CLUSTER, threads=threads, title=title)
    return found


def copy_costs() -> dict[str, CopyCost]:
    """Handing a tensor between CPU and GPU: measured on no Jetson, bounded by measured phones."""
    source = (
        "summerspringwei/DAG-Scheduler copy tables: Kirin 990 0.11 ms + 0.25 ms/MB, SD855 0.84 + "
        "0.51, SD835 0.81 + 0.72"
    )
    note = "CPU and GPU share one memory as on the phones; middle of the measured phones"

    def assumed(value: float, unit: str, low: float, high: float) -> Coefficient:
        return Coefficient(
            value=value, unit=unit, evidence="assumed", source=source, range=(low, high), note=note
        )

    cost = CopyCost(base_ms=assumed(0.5, "ms", 0.11, 0.84), ms_per_mb=assumed(0.5, "ms/MB", 0.25, 0.72))
    return {"cpu>gpu": cost, "gpu>cpu": cost}


def cpu_voltage() -> VoltageCurve:
    """The Cortex-A15's curve: no CPU clock sweep of power exists for a Jetson."""
    source = (
        "kranik/ARMPM_BUILDMODEL, Cortex-A15: 0.90, 1.00, 1.176 V at 1.0, 1.4, 1.8 GHz; power follows V^2 "
        "f to 2-6 %"
    )
    note = "no CPU clock sweep of power exists for a Jetson: the A15's curve stands in"

    def assumed(value: float, unit: str, low: float, high: float) -> Coefficient:
        return Coefficient(
            value=value, unit=unit, evidence="assumed", source=source, range=(low, high), note=note
        )

    return VoltageCurve(
        knee_ghz=assumed(1.0, "GHz", 0.8, 1.2), slope_per_ghz=assumed(0.36, "1/GHz", 0.2, 0.5)
    )
