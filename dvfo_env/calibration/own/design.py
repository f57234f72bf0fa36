"""Which points to measure first: few, spread so that every part of the latency and power laws shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dvfo_env.calibration.own.board import Board
from dvfo_env.calibration.own.table import IDLE, Row
from dvfo_env.errors import ConfigError


@dataclass(frozen=True)
class Point:
    """One point to measure and what it is for; clocks in MHz, None where the board has none."""

    mapping: str
    cores: int
    cpu_mhz: float | None
    gpu_mhz: float | None
    mem_mhz: float | None
    shows: str

    def row(self, workload: str) -> Row:
        """The row of a table to fill in; a point to wait at is of the workload `idle`."""
        name = IDLE if self.mapping == IDLE else workload
        clocks = (self.cpu_mhz, self.gpu_mhz, self.mem_mhz)
        return Row(self.mapping, self.cores, *clocks, name, None, note=self.shows)


def three_clocks(clocks: Sequence[float]) -> tuple[float, ...]:
    """The lowest clock, the one nearest to half the highest, and the highest; all of three or fewer."""
    if len(clocks) <= 3:
        return tuple(clocks)
    inner = clocks[1:-1]
    return clocks[0], min(inner, key=lambda mhz: abs(mhz - clocks[-1] / 2.0)), clocks[-1]


def design(board: Board, mappings: Sequence[tuple[str, int]], power: bool = True) -> list[Point]:
    """Points for `mappings` (name, cores), the most telling first.

    On the GPU: three GPU clocks x the lowest and highest memory clock at the highest CPU clock (six points
    calibrate a network on a Jetson TX2 to 0.5-0.8 %), and the lowest CPU clock. On CPU cores: three CPU
    clocks, the lowest memory clock, and for further core counts of the same name the highest clock. With
    `power`: the waiting board at the lowest and highest memory clock.

    Raises:
        ConfigError: no mapping is given, or one that the board has no cluster or no cores for.
    """
    if not mappings:
        raise ConfigError("design: no mapping given; for example gpu, or cpu with its core counts")
    for name, cores in mappings:
        _check(name, cores, board)
    points: list[Point] = []
    seen: set[str] = set()
    for name, cores in sorted(mappings, key=lambda pair: (not pair[0].lower().startswith("gpu"), -pair[1])):
        if name.lower().startswith("gpu"):
            points += _gpu_points(board, name, cores)
        else:
            points += _cpu_points(board, name, cores, again=name in seen)
        seen.add(name)
    return points + (_idle_points(board) if power else [])


def _check(name: str, cores: int, board: Board) -> None:
    """A mapping off the GPU fits into the cluster its name begins with, or into the only one."""
    if name.lower().startswith("gpu") or not board.cores:
        return
    cluster = next(iter(board.cores)) if len(board.cores) == 1 else name.rstrip("0123456789-_")
    if cluster not in board.cores:
        known = ", ".join(board.cores)
        raise ConfigError(
            f"mapping {name!r}: expected a name that begins with a cluster of the board ({known}) or with gpu"
        )
    if cores > board.cores[cluster]:
        raise ConfigError(
            f"mapping {name!r}: {cores} cores: the board has {board.cores[cluster]} in cluster {cluster}"
        )


def _gpu_points(board: Board, name: str, cores: int) -> list[Point]:
    cpu, gpu, mem = (_ends(clocks) for clocks in (board.cpu_mhz, board.gpu_mhz, board.mem_mhz))
    points = []
    for mhz in _spread(board.gpu_mhz):
        role = "highest GPU clock" if mhz == gpu[1] else "lowest" if mhz == gpu[0] else "middle"
        text = f"computing: {role}" if mhz is not None else "the GPU's only clock"
        points.append(Point(name, cores, cpu[1], mhz, mem[1], text))
        if mem[0] != mem[1]:
            points.append(Point(name, cores, cpu[1], mhz, mem[0], "memory: lowest clock"))
    if cpu[0] != cpu[1]:
        points.append(Point(name, cores, cpu[0], gpu[1], mem[1], "launching: lowest CPU clock"))
    return points


def _cpu_points(board: Board, name: str, cores: int, again: bool) -> list[Point]:
    cpu, gpu, mem = (_ends(clocks) for clocks in (board.cpu_mhz, board.gpu_mhz, board.mem_mhz))
    role = "highest CPU clock" if board.cpu_mhz else "the cores at the governor's clock"
    top = Point(name, cores, cpu[1], gpu[0], mem[1], "further core count" if again else role)
    if again:
        return [top]
    rest = [mhz for mhz in _spread(board.cpu_mhz) if mhz != cpu[1]]
    roles = ("lowest CPU clock", "middle CPU clock")
    points = [Point(name, cores, mhz, gpu[0], mem[1], roles[mhz != cpu[0]]) for mhz in rest]
    if mem[0] != mem[1]:
        points.append(Point(name, cores, cpu[1], gpu[0], mem[0], "memory: lowest clock"))
    return [top, *points]


def _idle_points(board: Board) -> list[Point]:
    cpu, gpu, mem = (_ends(clocks) for clocks in (board.cpu_mhz, board.gpu_mhz, board.mem_mhz))
    memories = dict.fromkeys((mem[1], mem[0]))
    return [Point(IDLE, 1, cpu[0], gpu[0], mhz, "waiting: power only") for mhz in memories]


def _ends(clocks: Sequence[float]) -> tuple[float | None, float | None]:
    return (clocks[0], clocks[-1]) if clocks else (None, None)


def _spread(clocks: Sequence[float]) -> list[float | None]:
    """Three clocks, highest first, then lowest, then the middle one; one None where there is no clock."""
    if not clocks:
        return [None]
    low, *middle, high = three_clocks(clocks) if len(clocks) > 1 else (clocks[0], clocks[0])
    return list(dict.fromkeys((high, low, *middle)))
