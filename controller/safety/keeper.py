"""Originals kept while a board's clocks are away from them: lock, journal, and putting back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from dvfo_controller.board.board import Board
from dvfo_controller.safety.competitors import refuse_competitors
from dvfo_controller.safety.dry_run import DryRun
from dvfo_controller.safety.lock import JOURNAL, STATE, Lock
from dvfo_env.errors import BoardError
from dvfo_env.hardware.originals import Journal, Original, Saved, originals, put_back
from dvfo_env.hardware.stopping import signals_held, terminations_raised
from dvfo_env.hardware.sysfs import SysFs

#: Differs after every start of the machine.
BOOT = "proc/sys/kernel/random/boot_id"

OnExit = Literal["restore", "keep"]


class Keeper:
    """Saves what stands before anything is written, and puts it back, however the run ends."""

    def __init__(
        self,
        board: Board,
        state: Path,
        on_exit: OnExit,
        beside: Collection[str],
        tell: Callable[[str], None],
    ) -> None:
        self._board = board
        self._sysfs = board.sysfs
        self._dry = isinstance(board.sysfs, DryRun)
        self._lock = Lock(state)
        self._journal = Journal(state / JOURNAL)
        self._on_exit = on_exit
        self._beside = beside
        self._tell = tell

    @contextmanager
    def kept(self) -> Iterator[tuple[Original, ...]]:
        """The originals of everything that can be set, put back at the end where `on_exit` says so.

        SIGTERM and SIGHUP arrive as `Terminated` inside the block; signals wait while files are put back.

        Raises:
            BoardError: another controller or program sets clocks here, the originals cannot be saved, or (at
                the end) not be put back.
        """
        with ExitStack() as stack:
            settable = any(axis.settable for axis in self._board.knobs.values())
            if not self._dry and (settable or self._journal.path.exists()):
                self._lock.take()
                stack.callback(self._lock.release)
            if settable and not self._dry:
                refuse_competitors(self._sysfs, self._beside)
            stack.enter_context(terminations_raised())
            with signals_held():
                saved = self._save()
            failed = False
            try:
                yield saved
            except Exception:
                failed = True
                raise
            finally:
                with signals_held():
                    self._put_back(saved, failed)

    def _save(self) -> tuple[Original, ...]:
        """Put back or take over what an earlier run left, then save what stands."""
        left = self._left_behind()
        known = {path for original in left for path, _ in original.files}
        knobs = [knob for axis in self._board.knobs.values() if axis.settable for knob in axis.knobs]
        fresh = originals(self._sysfs, (knob for knob in knobs if not known & {*knob.written_files}), False)
        saved = (*left, *fresh)
        if self._dry:
            self._tell(f"would save {len(saved)} clocks to {self._journal.path}")
        elif saved:
            about = {
                "process": os.getpid(),
                "on_exit": self._on_exit,
                "at_unix_s": round(time.time(), 3),
                "boot": self._sysfs.read(BOOT),
            }
            self._journal.write(saved, about)
        return saved

    def _left_behind(self) -> tuple[Original, ...]:
        """Originals of an earlier run that still are the originals, after what could be was put back."""
        saved = self._journal.read()
        if saved is None:
            return ()
        if saved.about.get("on_exit") == "keep":
            return saved.originals
        self._tell(f"{self._journal.path}: an earlier run ended before clocks were put back; doing so now")
        problems = put_back(self._sysfs, saved.originals, _another_boot(self._sysfs, saved))
        for _, line in problems:
            self._tell(f"{line}; its original stays saved")
        return tuple(dict.fromkeys(original for original, _ in problems))

    def _put_back(self, saved: tuple[Original, ...], failed: bool) -> None:
        if self._on_exit == "keep" or not saved:
            return
        problems = put_back(self._sysfs, saved)
        if not problems:
            if not self._dry:
                self._journal.remove()
            return
        lines = "; ".join(line for _, line in problems)
        message = f"clocks not put back: {lines}; saved in {self._journal.path}"
        if not failed:
            raise BoardError(message)
        self._tell(message)  # the error that ended the run is the one to be seen


def _another_boot(sysfs: SysFs, saved: Saved) -> bool:
    """Whether the machine was started anew since: files may have other names then, or be gone."""
    return saved.about.get("boot") not in (None, sysfs.read(BOOT))


def restore(sysfs: SysFs, state: Path | None = None, ended: bool = False) -> list[str] | None:
    """Put back what a run left; returns the files' lines, or None where there is nothing to put back.

    `ended` is for what follows a run that has ended by itself: clocks it was told to keep stay.

    Raises:
        BoardError: a run is going on, the journal cannot be read, or a file not be put back.
    """
    state = state or sysfs.root / STATE
    journal = Journal(state / JOURNAL)
    if not journal.path.exists():
        return None
    lock = Lock(state)
    lock.take()
    try:
        saved = journal.read()
        if saved is None or (ended and saved.about.get("on_exit") == "keep"):
            return None
        with signals_held():
            problems = put_back(sysfs, saved.originals, _another_boot(sysfs, saved))
            if problems:
                lines = "; ".join(line for _, line in problems)
                raise BoardError(f"clocks not put back: {lines}; saved in {journal.path}")
            if not isinstance(sysfs, DryRun):
                journal.remove()
        return [f"/{path} is {text}" for original in saved.originals for path, text in original.files]
    finally:
        lock.release()
