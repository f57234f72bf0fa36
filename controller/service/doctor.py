"""What works on this machine, what does not, and which right or setting would change that."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dvfo_controller.board.board import Board
from dvfo_controller.safety.competitors import competitors
from dvfo_controller.safety.lock import JOURNAL, STATE, Lock
from dvfo_env.errors import BoardError
from dvfo_env.hardware.clocks import DOMAINS
from dvfo_env.hardware.originals import Journal

AS_ROOT = "run it as root, or as the service of `dvfo-controller unit`"

#: `works`; `limited`: the controller runs, without this; `stops`: the controller refuses to run.
Verdict = Literal["works", "limited", "stops"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `advice` is what to do where it does not work; empty where nothing can be done."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(
    board: Board, state: Path | None = None, environment: Mapping[str, str] = os.environ
) -> list[Finding]:
    """Look at everything; writes nothing."""
    folder = state or board.sysfs.root / STATE
    return [
        *_clocks(board),
        *_sensors(board),
        *_others(board),
        *_saved(board, folder),
        *_service(environment),
    ]


def _clocks(board: Board) -> Iterator[Finding]:
    for domain in DOMAINS:
        axis = board.knobs[domain]
        what = f"{domain} clock"
        if axis.settable:
            kind = f"{len(axis.mhz)} clocks" if axis.fastest.listed else "any clock"
            where = f" in {len(axis.knobs)} groups" if len(axis.knobs) > 1 else ""
            yield Finding(what, "works", f"{kind}, {axis.mhz[0]:g} to {axis.mhz[-1]:g} MHz{where}")
        else:
            advice = (
                "run it as root, or as the service of `dvfo-controller unit`"
                if "root can" in axis.reason
                else ""
            )
            yield Finding(what, "limited", axis.reason, advice)
    for note in board.notes():
        advice = "" if "already" in note else "set the governor to schedutil" if "governor" in note else ""
        yield Finding("governor" if "governor" in note else "clocks", "limited", note, advice)


def _sensors(board: Board) -> Iterator[Finding]:
    reading = board.reading()
    if reading.temperatures_c:
        limits = [zone.limit_c for zone in board.zones if zone.limit_c is not None]
        shown = f"{len(reading.temperatures_c)} zones, hottest {reading.hottest_c:g} C"
        if limits:
            yield Finding("temperature", "works", f"{shown}, limits from {min(limits):g} C")
        else:
            advice = "say --limit-c to have the safe profile when it gets too hot"
            yield Finding("temperature", "limited", f"{shown}, no zone says what is too hot", advice)
    else:
        yield Finding("temperature", "limited", "no thermal zone: no safe profile for heat")
    closed = [
        path
        for path in board.sysfs.folders("sys/class/powercap/intel-rapl:*/energy_uj")
        if board.sysfs.integer(path) is None
    ]
    if board.sensors:
        yield Finding("power", "works", ", ".join(board.sensors))
    elif closed:
        yield Finding("power", "limited", f"may not read /{closed[0]}", "run it as root")
    else:
        yield Finding("power", "limited", "no INA3221, RAPL or battery that shows power")
    if reading.battery_share is not None:
        yield Finding("battery", "works", f"{reading.battery_share:.0%} full")
    if reading.throttled:
        advice = "wait until it is cool: a cap that holds now would be saved as the limit to go back to"
        yield Finding("throttling", "limited", "the machine slows itself down now", advice)


def _others(board: Board) -> Iterator[Finding]:
    found = competitors(board.sysfs)
    for other in found:
        advice = f"stop and disable it, or say --beside {other.name}"
        yield Finding("other programs", "stops", f"{other} sets clocks too", advice)
    if not found:
        yield Finding("other programs", "works", "none that sets clocks")


def _saved(board: Board, folder: Path) -> Iterator[Finding]:
    settable = any(axis.settable for axis in board.knobs.values())
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        advice = "run it as root, or name another folder with --state"
        yield Finding("state folder", "stops" if settable else "limited", f"may not write {folder}", advice)
    else:
        yield Finding("state folder", "works", str(folder))
    try:
        holder, saved = Lock(folder).holder(), Journal(folder / JOURNAL).read()
    except BoardError as error:
        yield Finding("originals", "stops", str(error))
        return
    if holder is not None:
        yield Finding("originals", "stops", f"a controller runs already (process {holder})", "stop it first")
    elif saved is None:
        yield Finding("originals", "works", "nothing is left changed")
    else:
        found = "an earlier run left clocks changed"
        yield Finding("originals", "limited", found, "dvfo-controller restore (the next run does it too)")


def _service(environment: Mapping[str, str]) -> Iterator[Finding]:
    if environment.get("NOTIFY_SOCKET"):
        watched = "with" if environment.get("WATCHDOG_USEC") else "without"
        yield Finding("service", "works", f"started by a service manager, {watched} watchdog")
    else:
        yield Finding("service", "limited", "not started by systemd: no watchdog", "dvfo-controller unit")
