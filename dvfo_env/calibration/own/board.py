"""What measured points do not say about a board: its legal clocks, its cores, its title."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from dvfo_env.devices.library import load_device
from dvfo_env.schema import Record, parse_record, read_yaml

Clocks = tuple[Annotated[float, Field(gt=0.0)], ...]


class Board(Record):
    """Legal clocks in MHz, ascending (empty: the board has no such clock), and cores by cluster."""

    title: str = ""
    cores: dict[str, Annotated[int, Field(ge=1, le=1024)]] = Field(default_factory=dict)
    cpu_mhz: Clocks = ()
    gpu_mhz: Clocks = ()
    mem_mhz: Clocks = ()

    @field_validator("cpu_mhz", "gpu_mhz", "mem_mhz")
    @classmethod
    def _ascending(cls, clocks: Clocks) -> Clocks:
        if list(clocks) != sorted(set(clocks)):
            raise ValueError("clocks must ascend without repeats")
        return clocks


def load_board(source: str | Path) -> Board:
    """A board from a YAML file of its own, or the clocks and cores of a device profile (name or file).

    Raises:
        ConfigError: neither a known device nor a file that fits.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        data = read_yaml(path)
        if not isinstance(data, dict) or "latency" not in data:
            return parse_record(data, Board, where=str(path))
    profile = load_device(source)
    cpu, gpu, mem = (domain.mhz if domain else () for domain in (profile.cpu, profile.gpu, profile.memory))
    return Board(title=profile.title, cores=profile.cores, cpu_mhz=cpu, gpu_mhz=gpu, mem_mhz=mem)
