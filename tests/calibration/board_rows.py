"""A made-up board with a known law: rows as if somebody had measured it."""

from __future__ import annotations

from dvfo_env.calibration.own.board import Board
from dvfo_env.calibration.own.table import IDLE, Origin, Row

BOARD = Board(
    title="Made-up board",
    cores={"cpu": 4},
    cpu_mhz=(400.0, 800.0, 1200.0, 1600.0),
    gpu_mhz=(100.0, 300.0, 500.0, 700.0, 1000.0),
    mem_mhz=(800.0, 1200.0, 1600.0),
)
ORIGIN = Origin("made-up.csv", "0" * 64, 1)
T0_MS, LAUNCH, GPU, MEM, SHAPE = 1.0, 2.0, 20.0, 16.0, 3.0
FIXED_MS, CPU, CORE_EXPONENT = 5.0, 120.0, 0.8
IDLE_MW, CORE_MW, BUSY_MW = 2000.0, 600.0, 5000.0


def gpu_ms(cpu_mhz: float, gpu_mhz: float, mem_mhz: float) -> float:
    """The law of the GPU mapping, ms."""
    compute, memory = GPU * 1000.0 / gpu_mhz, MEM * 1000.0 / mem_mhz
    return float(T0_MS + LAUNCH * 1000.0 / cpu_mhz + (compute**SHAPE + memory**SHAPE) ** (1.0 / SHAPE))


def cpu_ms(cores: int, cpu_mhz: float) -> float:
    """The law of the CPU mappings, ms."""
    return float(FIXED_MS + CPU * 1000.0 / (cpu_mhz * cores**CORE_EXPONENT))


def gpu_row(gpu_mhz: float, mem_mhz: float, cpu_mhz: float = 1600.0, power_mw: float | None = None) -> Row:
    """One point on the GPU."""
    time = gpu_ms(cpu_mhz, gpu_mhz, mem_mhz)
    return Row("gpu", 1, cpu_mhz, gpu_mhz, mem_mhz, "resnet50", time, power_mw, where="made-up.csv: line 2")


def cpu_row(cores: int, cpu_mhz: float, mem_mhz: float = 1600.0, power_mw: float | None = None) -> Row:
    """One point on CPU cores, the GPU at its lowest clock."""
    time = cpu_ms(cores, cpu_mhz)
    return Row("cpu", cores, cpu_mhz, 100.0, mem_mhz, "resnet50", time, power_mw, where="made-up.csv: line 3")


def idle_row(mem_mhz: float, power_mw: float = IDLE_MW) -> Row:
    """The waiting board."""
    return Row(IDLE, 1, 400.0, 100.0, mem_mhz, IDLE, None, power_mw)


def six_points() -> list[Row]:
    """Three GPU clocks x two memory clocks."""
    return [gpu_row(gpu, mem) for gpu in (100.0, 500.0, 1000.0) for mem in (800.0, 1600.0)]
