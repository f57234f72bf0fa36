"""The measurement log: one JSON line for every visit, on disk before the next begins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from dvfo_env.errors import MeasurementError

Entry = dict[str, Any]


class MeasurementLog:
    """Append-only file of measurements, opened for one plan.

    The first line is the plan with its hash. A line torn by a power cut is dropped on reading and cut off on
    opening. `entries` are those of the file when it was opened, then those appended.

    Raises:
        MeasurementError: the file belongs to another plan or cannot be written.
    """

    def __init__(self, path: Path, plan_hash: str, plan: Entry) -> None:
        self.path = path
        self._visits: dict[str, list[Entry]] = {}
        self._indexed = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.entries, length = _read(path) if path.exists() else ([], 0)
            self._file = path.open("ab")
        except OSError as error:
            raise MeasurementError(f"{path}: cannot be written: {error.strerror or error}") from None
        self._file.truncate(length)
        if not self.entries:
            self.append({"kind": "plan", "hash": plan_hash, "plan": plan})
        found = self.entries[0].get("hash")
        if found != plan_hash:
            self.close()
            raise MeasurementError(f"{path}: holds another plan ({found}, not {plan_hash}); move it away")

    def visits_of(self, condition: str) -> list[Entry]:
        """Visits of one condition, in order."""
        if self._indexed != len(self.entries):
            for entry in self.entries[self._indexed :]:
                if entry.get("kind") == "visit":
                    self._visits.setdefault(entry["condition"], []).append(entry)
            self._indexed = len(self.entries)
        return self._visits.get(condition, [])

    @property
    def resumed(self) -> int:
        """Visits that are already there."""
        return len(self.of_kind("visit"))

    def of_kind(self, kind: str) -> list[Entry]:
        """Entries of one kind, in order."""
        return [entry for entry in self.entries if entry.get("kind") == kind]

    def append(self, entry: Entry) -> None:
        """Write one line and wait until it is on disk."""
        self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.entries.append(entry)

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def __enter__(self) -> MeasurementLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_log(path: Path) -> list[Entry]:
    """Entries of a log, without a torn last line.

    Raises:
        MeasurementError: the file cannot be read.
    """
    try:
        return _read(path)[0]
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror or error}") from None


def _read(path: Path) -> tuple[list[Entry], int]:
    """Whole entries and how many bytes they take."""
    entries: list[Entry] = []
    length = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(entry, dict):
            break
        entries.append(entry)
        length += len(line)
    return entries, length
