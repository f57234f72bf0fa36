"""The twin of `SysFs` that says what would be written instead of writing it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dvfo_env.hardware.sysfs import SysFs


class DryRun(SysFs):
    """Reads as `SysFs` does, except that files hold what would have been written to them.

    Every file that exists counts as writable, so that a user without rights sees what root would do.
    """

    def __init__(self, root: Path | str = "/", tell: Callable[[str], None] = print) -> None:
        super().__init__(root)
        self._tell = tell
        self._written: dict[str, str] = {}

    def read(self, path: str) -> str | None:
        """What would stand in the file now."""
        return self._written[path] if path in self._written else super().read(path)

    def writable(self, path: str) -> bool:
        """Whether there is such a file."""
        return self.exists(path)

    def write(self, path: str, text: str) -> None:
        """Say it.

        Raises:
            OSError: there is no such file.
        """
        if not self.exists(path):
            raise FileNotFoundError(2, "No such file or directory", path)
        self._written[path] = text
        self._tell(f"would write {text} to /{path}")
