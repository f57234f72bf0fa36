"""What a person says about a board besides the table of measured points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from dvfo_env.calibration.own.board import Board
from dvfo_env.devices.profile import Meter


@dataclass(frozen=True)
class Choices:
    """What the person says besides the table. Powers in mW.

    `idle_mw` and `busy_mw` (board power by mapping) are watts by hand, for tables without power.
    """

    name: str
    title: str = ""
    board: Board | None = None
    board_source: str = ""
    out_of_the_box: str = ""
    inference: str = ""
    meter: Meter = "board input"
    idle_mw: float | None = None
    busy_mw: Mapping[str, float] = field(default_factory=dict)
    day: str = field(default_factory=lambda: date.today().isoformat())
