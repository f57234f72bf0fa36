"""What a controller on this machine is doing: for people and scripts, and written by the controller."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvfo_controller.board.board import Board, Reading
from dvfo_controller.safety.lock import JOURNAL, STATE, Lock
from dvfo_env.errors import BoardError
from dvfo_env.hardware.originals import Journal

LIVE = "status.json"


class LiveStatus:
    """The running controller's own words in a file, replaced no more often than once a second.

    Not flushed to the disk: after a power cut nobody asks what was going on.
    """

    def __init__(
        self, folder: Path, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = folder / LIVE
        self._every_s = every_s
        self._clock = clock
        self._last_s: float | None = None

    def write(self, words: Mapping[str, object]) -> None:
        """Say what is going on; a folder that cannot be written loses the words, never a request."""
        now = self._clock()
        if self._last_s is not None and now - self._last_s < self._every_s:
            return
        self._last_s = now
        text = json.dumps({"at_unix_s": round(time.time(), 3), "process": os.getpid(), **words})
        beside = self._path.with_name(f"{LIVE}.new")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, self._path)

    def clear(self) -> None:
        """The controller has ended."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def status(board: Board, state: Path | None = None) -> dict[str, Any]:
    """Everything `dvfo-controller status --json` prints; plain data.

    `saved.now_differs` names the files that do not hold what they held before the controller came.
    """
    folder = state or board.sysfs.root / STATE
    live = _live(folder)
    process = Lock(folder).holder() or (live or {}).get("process")  # without clocks to set there is no lock
    return {
        "running": process is not None,
        "process": process,
        "live": live,
        "saved": _saved(board, folder),
        "knobs": {
            domain: {
                "settable": axis.settable,
                "reason": axis.reason,
                "mhz": list(axis.mhz),
                "limits": {
                    f"/{path}": board.sysfs.integer(path) for knob in axis.knobs for path in knob.limit_files
                },
            }
            for domain, axis in board.knobs.items()
        },
        "reading": reading_json(board.reading()),
    }


def reading_json(reading: Reading) -> dict[str, Any]:
    """A reading as plain data."""
    return {key: value for key, value in asdict(reading).items() if key != "at_s"}


def _live(folder: Path) -> dict[str, Any] | None:
    """What a controller says of itself; None where the one that said it is gone."""
    try:
        words = json.loads((folder / LIVE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    alive = isinstance(words, dict) and Path(f"/proc/{words.get('process')}").exists()
    return words if alive else None


def _saved(board: Board, folder: Path) -> dict[str, Any] | None:
    try:
        saved = Journal(folder / JOURNAL).read()
    except BoardError as error:
        return {"error": str(error)}
    if saved is None:
        return None
    files = [item for original in saved.originals for item in original.files]
    differing = [f"/{path}" for path, text in files if board.sysfs.read(path) != text]
    return {"about": dict(saved.about), "files": len(files), "now_differs": differing}


def lines(found: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    said = [f"controller   {'process ' + str(found['process']) if found['running'] else 'not running'}"]
    if found["live"]:
        said += [f"             {key}: {value}" for key, value in found["live"].items() if key != "process"]
    saved = found["saved"]
    if saved is None:
        said.append("originals    none saved: nothing is changed")
    elif "error" in saved:
        said.append(f"originals    {saved['error']}")
    else:
        away = len(saved["now_differs"])
        hint = "" if found["running"] else "; dvfo-controller restore puts them back"
        said.append(f"originals    {saved['files']} files saved, {away} hold something else now{hint}")
    for domain, knob in found["knobs"].items():
        span = f"{len(knob['mhz'])} clocks to {knob['mhz'][-1]:g} MHz" if knob["mhz"] else "no clock known"
        said.append(f"{domain:<13}{span}; {knob['reason']}")
    reading = found["reading"]
    clocks = [f"{key.removesuffix('_mhz')} {reading[key]:g} MHz" for key in _CLOCKS if reading[key]]
    said.append(f"now          {', '.join(clocks) or 'no clock is shown'}")
    for words, unit, key in (("temperature", "C", "temperatures_c"), ("power", "mW", "power_mw")):
        shown = ", ".join(f"{name} {value:g}" for name, value in reading[key].items())
        if shown:
            said.append(f"{words:<13}{shown} {unit}")
    if reading["battery_share"] is not None:
        said.append(f"battery      {reading['battery_share']:.0%}")
    if reading["throttled"]:
        said.append("throttling   the machine slows itself down")
    return said


_CLOCKS = ("cpu_mhz", "gpu_mhz", "mem_mhz")
