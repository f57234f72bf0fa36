"""One controller at a time: a lock that the kernel lets go when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from dvfo_env.errors import BoardError

#: Where journal, lock and status lie, below the root of the machine's files; systemd's StateDirectory.
STATE = Path("var/lib/dvfo-controller")
JOURNAL = "originals.json"
LOCK = "lock"


#: Tries, and the time between them: whoever asks for the holder has the lock for a moment too.
TRIES, AGAIN_S = 5, 0.05


def _locked(descriptor: int) -> bool:
    for _ in range(TRIES):
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(AGAIN_S)
    return False


class Lock:
    """Held from `take` to `release`; the file holds the holder's process number for others to name."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            BoardError: another process holds it, or the folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise BoardError(f"{self._path}: cannot be made: {error.strerror or error}") from None
        if not _locked(descriptor):
            os.close(descriptor)
            raise BoardError(
                f"{self._path}: dvfo-controller (process {self.holder() or '?'}) runs already; stop it first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let it go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """Process that holds it now; None where nobody does."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except OSError:
            text = os.read(descriptor, 32).strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(descriptor)
