"""What files held before they were first written: saved to disk first, and put back whatever happens.

`Journal` is that file on disk. It is replaced as a whole, flushed with its folder before anything is changed,
and carries a digest, so that it is either right or refused. Its entries may only name files below `sys/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dvfo_env.errors import BoardError
from dvfo_env.hardware.clocks import Knob
from dvfo_env.hardware.sysfs import SysFs

FORMAT = "dvfo-clocks/1"

#: Passes over the files that still differ: one that the kernel refused may be accepted after its neighbour.
PASSES = 3


@dataclass(frozen=True)
class Original:
    """One knob's files as they were.

    Attributes:
        files: path and text, in the order in which they are put back.
        limits: the lower and the upper limit among them, which are ordered by what stands there; or None.
        floating: paths that move by themselves once the rest is back; they are written but not compared.
    """

    files: tuple[tuple[str, str], ...]
    limits: tuple[str, str] | None = None
    floating: tuple[str, ...] = ()


def originals(sysfs: SysFs, knobs: Iterable[Knob], governors: bool) -> tuple[Original, ...]:
    """What the files of these knobs hold now; `governors` includes the file that names the governor."""
    return tuple(_of_lock(sysfs, knob) if knob.held else _of_limits(sysfs, knob, governors) for knob in knobs)


def _of_limits(sysfs: SysFs, knob: Knob, governors: bool) -> Original:
    low, high = knob.limit_files
    paths = ([f"{knob.folder}/{knob.governor}"] if governors else []) + [high, low]
    return Original(_texts(sysfs, paths), (low, high))


def _of_lock(sysfs: SysFs, knob: Knob) -> Original:
    """Rate first, then what holds it. A rate that nothing held is no setting: it floats again afterwards.

    Where the rate's file does not show a rate (some kernels), it is not put back: once the lock is off it has
    no effect. NVIDIA's jetson_clocks --restore puts back the lock alone.
    """
    rate = knob.limit_files[1]
    locks = [f"{knob.folder}/{name}" for name, _ in knob.held]
    held = sysfs.read(locks[0]) not in ("0", None)
    known = knob.points[0] <= (sysfs.integer(rate) or 0) <= knob.points[-1]
    paths = ([rate] if known else []) + locks[::-1]
    return Original(_texts(sysfs, paths), None, () if held else (rate,))


def _texts(sysfs: SysFs, paths: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found = ((path, sysfs.read(path)) for path in paths)
    return tuple((path, text) for path, text in found if text is not None)


def put_back(sysfs: SysFs, saved: Iterable[Original], missing_ok: bool = False) -> list[tuple[Original, str]]:
    """Write what differs; returns what is still not as it was, with one line that names the file.

    With `missing_ok` a file that is not there any more is as it should be: another kernel was started.
    """
    problems = []
    for original in saved:
        refused: dict[str, str] = {}
        for _ in range(PASSES):
            if not _put_back_once(sysfs, original, refused):
                break
        for path, text in original.files:
            found = sysfs.read(path)
            if missing_ok and found is None:
                continue
            if found != text and path not in original.floating:
                why = f" ({refused[path]})" if path in refused else ""
                problems.append((original, f"/{path} should be {text}, reads {found}{why}"))
    return problems


def _put_back_once(sysfs: SysFs, original: Original, refused: dict[str, str]) -> bool:
    """One pass; True where something differed. What floats is only written while the rest differs too."""
    files = _ordered(sysfs, original)
    differs = {path for path, text in files if sysfs.read(path) != text}
    differed = bool(differs.difference(original.floating))
    for path, text in files if differed else ():
        if sysfs.read(path) == text:
            continue
        try:
            sysfs.write(path, text)
            refused.pop(path, None)
        except OSError as error:
            refused[path] = error.strerror or str(error)
    return differed


def _ordered(sysfs: SysFs, original: Original) -> list[tuple[str, str]]:
    """Upper limit before the lower one, unless the upper one goes below the lower one that stands there."""
    files = list(original.files)
    if original.limits:
        low, high = original.limits
        present, wanted = sysfs.integer(low), dict(files).get(high)
        if present is not None and wanted is not None and wanted.isdigit() and int(wanted) < present:
            files.sort(key=lambda item: item[0] == high)
    return files


@dataclass(frozen=True)
class Saved:
    """What a journal holds: the originals, and what the writer wanted to be known about itself."""

    originals: tuple[Original, ...]
    about: Mapping[str, Any]


class Journal:
    """The file that holds the originals while the machine's files differ from them.

    Other local users must not be able to write it or its folder: who puts back writes as root what it says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, saved: Sequence[Original], about: Mapping[str, Any] | None = None) -> None:
        """Replace the journal; when this returns it is on the disk.

        Raises:
            BoardError: it cannot be saved; what was there before still is.
        """
        body = {"about": dict(about or {}), "originals": [_as_json(original) for original in saved]}
        document = {"format": FORMAT, "sha256": _digest(body), **body}
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "w", encoding="utf-8", opener=_for_owner) as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
            _flush_folder(self.path.parent)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise BoardError(
                f"{self.path}: the present clocks cannot be saved, so none is changed: "
                f"{error.strerror or error}"
            ) from None

    def read(self) -> Saved | None:
        """What is saved, or None where there is no journal.

        Raises:
            BoardError: it is torn, was altered, or others may write it.
        """
        try:
            with open(self.path, encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                text = file.read()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(getattr(error, "strerror", None) or str(error)) from None
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise self._unreadable("others than its owner may have written it")
        try:
            document = json.loads(text)
            about = dict(document["about"])
            body = {"about": about, "originals": list(document["originals"])}
            if document["format"] != FORMAT or document["sha256"] != _digest(body):
                raise ValueError("another format, or altered")
            return Saved(tuple(_from_json(entry) for entry in body["originals"]), about)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._unreadable(f"{error!s:.100}") from None

    def remove(self) -> None:
        """Remove the journal, for everything is as it was.

        Raises:
            BoardError: it cannot be removed.
        """
        try:
            self.path.unlink(missing_ok=True)
            if self.path.parent.exists():
                _flush_folder(self.path.parent)
        except OSError as error:
            raise BoardError(f"{self.path}: cannot be removed: {error.strerror or error}") from None

    def _unreadable(self, why: str) -> BoardError:
        return BoardError(
            f"{self.path}: the saved clocks cannot be read ({why}); set the clocks by hand or start the "
            f"machine again, then delete this file"
        )


def _for_owner(path: str, flags: int) -> int:
    """Nobody else may write it, whatever the process' mask of permissions says."""
    return os.open(path, flags, 0o644)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _as_json(original: Original) -> dict[str, Any]:
    limits = list(original.limits) if original.limits else None
    return {
        "files": [list(item) for item in original.files],
        "limits": limits,
        "floating": [*original.floating],
    }


def _from_json(entry: Mapping[str, Any]) -> Original:
    files = tuple((_checked(path), str(text)) for path, text in entry["files"])
    limits = tuple(_checked(path) for path in entry["limits"]) if entry["limits"] else None
    if limits is not None and len(limits) != 2:
        raise ValueError("limits are two files")
    floating = tuple(_checked(path) for path in entry["floating"])
    return Original(files, (limits[0], limits[1]) if limits else None, floating)


def _checked(path: object) -> str:
    parts = PurePosixPath(str(path)).parts
    if not parts or parts[0] != "sys" or ".." in parts:
        raise ValueError(f"{path!s:.80} is no file below /sys")
    return str(path)
