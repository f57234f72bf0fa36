"""Other programs that set the same clocks: found in /proc and among enabled units, and named.

Two masters of one clock make it flap, and each takes the other's value for the original.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dvfo_env.errors import BoardError
from dvfo_env.hardware.sysfs import SysFs

#: Programs by name, and the arguments with which they only look.
PROGRAMS: dict[str, tuple[str, frozenset[str]]] = {
    "tuned": ("tuned", frozenset()),
    "power-profiles-daemon": ("power-profiles-daemon", frozenset()),
    "tlp": ("TLP", frozenset({"stat", "--version"})),
    "thermald": ("thermald", frozenset({"--test-mode"})),
    "auto-cpufreq": ("auto-cpufreq", frozenset({"--stats", "--monitor", "--version", "--help"})),
    "nvpmodel": ("nvpmodel", frozenset({"-q", "--query", "-p", "--parse", "-h"})),
    "nvpower": ("nvpower", frozenset()),
    "nvpower.sh": ("nvpower", frozenset()),
    "jetson_clocks": ("jetson_clocks", frozenset({"--show", "--store", "--help"})),
    "jetson_clocks.sh": ("jetson_clocks", frozenset({"--show", "--store", "--help"})),
    "cpupower": ("cpupower", frozenset({"frequency-info", "idle-info", "monitor", "info", "--version"})),
}
#: Units that write when something happens (boot, plugging in, waking up) without a program that stays.
UNITS = {"tlp.service": "TLP", "cpupower.service": "cpupower"}

_INTERPRETERS = ("python", "bash", "sh", "dash", "perl")
_OURS = "dvfo-controller"
#: What each of our own commands must hold in its arguments to be one that sets clocks.
_OUR_WRITERS = {_OURS: "run", "dvfo": "profile"}


@dataclass(frozen=True)
class Competitor:
    """One program or unit that sets clocks too."""

    name: str
    how: str

    def __str__(self) -> str:
        return f"{self.name} ({self.how})"


def competitors(sysfs: SysFs) -> tuple[Competitor, ...]:
    """Everything that runs or is enabled here and sets clocks too."""
    found = {competitor.name: competitor for competitor in _enabled(sysfs)}
    me = os.getpid()
    family = {me, *_ancestors(sysfs, me)}
    born = _born(sysfs, me)
    for folder in sysfs.folders("proc/[0-9]*"):
        pid = int(folder.rsplit("/", 1)[-1])
        words = (sysfs.read(f"{folder}/cmdline") or "").split("\0")
        name = None if pid in family else _name(words)
        if name in _OUR_WRITERS and born is not None and (_born(sysfs, pid) or 0, pid) > (born, me):
            continue  # the younger of two is the one to give way
        if name:
            found[name] = Competitor(name, f"process {pid}")
    return tuple(found.values())


def refuse_competitors(sysfs: SysFs, beside: Collection[str] = ()) -> None:
    """Do nothing where nobody else sets clocks; names in `beside` are put up with.

    Raises:
        BoardError: names who does, and how to stop it.
    """
    tolerated = {name.lower() for name in beside}
    found = [competitor for competitor in competitors(sysfs) if competitor.name.lower() not in tolerated]
    if found:
        raise BoardError(
            f"{' and '.join(map(str, found))} set{'s' if len(found) == 1 else ''} clocks here too: stop "
            f"and disable {'it' if len(found) == 1 else 'them'} first, or say --beside NAME"
        )


def _name(words: list[str]) -> str | None:
    """Who a command line belongs to, or None where it sets no clocks."""
    words = [word for word in words if word]
    if words and _base(words[0]).startswith(_INTERPRETERS):
        script = next((at for at in range(1, len(words)) if not words[at].startswith("-")), len(words))
        if any(word.endswith("c") for word in words[1:script]):  # a program given as text
            return None
        words = words[script:]  # what follows -m too
    if not words:
        return None
    program, arguments = _base(words[0]), set(words[1:])
    program = {"dvfo_controller.main": _OURS, "dvfo_cli.main": "dvfo"}.get(program, program)
    if program in _OUR_WRITERS:
        return program if words[1:2] == [_OUR_WRITERS[program]] and "--dry-run" not in arguments else None
    name, looking = PROGRAMS.get(program, (None, frozenset()))
    return None if name is None or arguments & looking else name


def _base(word: str) -> str:
    return word.rsplit("/", 1)[-1]


def _enabled(sysfs: SysFs) -> Iterator[Competitor]:
    for unit, name in UNITS.items():
        if any(_links(sysfs, f"etc/systemd/system/*.wants/{unit}")):
            yield Competitor(name, f"{unit} is enabled")


def _links(sysfs: SysFs, pattern: str) -> Iterator[str]:
    yield from sysfs.folders(pattern)


def _stat(sysfs: SysFs, pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, which may hold blanks: state, parent, ... (proc(5))."""
    return (sysfs.read(f"proc/{pid}/stat") or "").rpartition(")")[2].split()


def _born(sysfs: SysFs, pid: int) -> int | None:
    """Start time in clock ticks since boot."""
    fields = _stat(sysfs, pid)
    return int(fields[19]) if len(fields) > 19 else None


def _ancestors(sysfs: SysFs, pid: int) -> Iterator[int]:
    for _ in range(64):
        fields = _stat(sysfs, pid)
        if len(fields) < 2 or fields[1] in ("0", str(pid)):
            return
        pid = int(fields[1])
        yield pid
