"""The log of one cut: every answer, size and time on disk before the next begins, so that a kill loses one.

Entries behind the plan:

* `calibration`: confidences of the uncompressed network on the calibration images, for classes of difficulty;
* `reference`: a chunk of test images from `start` on: the uncompressed network's confidences, and which of
  its answers were right;
* `answers`: a chunk through one setting: which answers were right, which agreed with the uncompressed
  network's;
* `bytes`: sizes of the frames of a chunk's first images with one setting and coder;
* `times`: of encoding and decoding with one setting and coder; of several the last counts;
* `reference_encode`: time of the reference encoding, measured with them.
"""

from __future__ import annotations

import base64
import fcntl
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import MeasurementError
from dvfo_env.profiling.log import MeasurementLog

Entry = dict[str, Any]

#: How long to wait for the workers of a measurement that was just killed to leave.
_PATIENCE_S = 5.0


def packed(bits: NDArray[np.bool_]) -> str:
    """Truth values as text, eight in a byte."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """The first `count` truth values of `packed`."""
    data = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    return np.unpackbits(data, count=count).astype(bool)


class CutLog:
    """A cut's log, opened by one process at a time.

    Raises:
        MeasurementError: another process has it open, it belongs to another plan or cannot be written.
    """

    def __init__(self, path: Path, plan_hash: str, cut: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = (path.with_suffix(".lock")).open("w")
        deadline = time.monotonic() + _PATIENCE_S
        while not self._locked():
            if time.monotonic() > deadline:
                self._lock.close()
                raise MeasurementError(f"{path}: another process is measuring this")
            time.sleep(0.05)
        self._log = MeasurementLog(path, plan_hash, {"cut": cut})
        self._known: dict[tuple[Any, ...], Entry] = {_key(entry): entry for entry in self._log.entries}

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def has(self, kind: str, **where: Any) -> bool:
        """Whether such an entry is there."""
        return _key({"kind": kind, **where}) in self._known

    def get(self, kind: str, **where: Any) -> Entry:
        """The entry of this kind at this place, which must be there."""
        return self._known[_key({"kind": kind, **where})]

    def of_kind(self, kind: str) -> list[Entry]:
        """Entries of one kind, in order."""
        return self._log.of_kind(kind)

    def append(self, kind: str, **values: Any) -> Entry:
        """Write an entry and wait until it is on disk."""
        entry = {"kind": kind, **values}
        self._log.append(entry)
        self._known[_key(entry)] = entry
        return entry

    def close(self) -> None:
        """Close the file and let others open it."""
        self._log.close()
        self._lock.close()

    def __enter__(self) -> CutLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _key(entry: Entry) -> tuple[Any, ...]:
    """What tells entries apart."""
    return tuple(entry.get(name) for name in ("kind", "chunk", "variant", "coder"))
