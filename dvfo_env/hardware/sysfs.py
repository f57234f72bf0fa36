"""The one door to /sys and /proc, with a root to put a copy of a machine's files behind it."""

from __future__ import annotations

import os
from pathlib import Path


class SysFs:
    """Reads and writes kernel files below `root`; paths are relative, for example `sys/class/hwmon`.

    What is missing or cannot be read is None: a machine without a file is a machine without that ability.
    """

    def __init__(self, root: Path | str = "/") -> None:
        self.root = Path(root)
        self._below = f"{self.root}/".replace("//", "/")

    def read(self, path: str) -> str | None:
        """Text of a file without surrounding white space, or None where it cannot be read."""
        try:
            with open(f"{self._below}{path}", "rb", buffering=0) as file:
                return file.readall().decode("utf-8", errors="replace").strip("\0 \n\t")
        except OSError:
            return None

    def integer(self, path: str) -> int | None:
        """The integer in a file, or None where there is none."""
        text = self.read(path)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def integers(self, path: str) -> tuple[int, ...]:
        """The integers in a file, in its order; empty where there are none."""
        return tuple(int(word) for word in (self.read(path) or "").split() if word.lstrip("-").isdigit())

    def cpus(self, path: str) -> frozenset[int]:
        """The CPUs of a list like `0-3,8`; empty where the file is missing or empty."""
        return parse_cpus(self.read(path) or "")

    def folders(self, pattern: str) -> tuple[str, ...]:
        """Relative paths that match a glob pattern, numbers in them in numeric order."""
        found = (str(path.relative_to(self.root)) for path in self.root.glob(pattern))
        return tuple(sorted(found, key=_natural))

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return (self.root / path).exists()

    def writable(self, path: str) -> bool:
        """Whether this process may write the file."""
        return os.access(self.root / path, os.W_OK)

    def write(self, path: str, text: str) -> None:
        """Write a kernel file in one go. A file that is not there is never made.

        Raises:
            OSError: the kernel refused.
        """
        descriptor = os.open(f"{self._below}{path}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def parse_cpus(text: str) -> frozenset[int]:
    """CPUs of a kernel list: `0-2,5` is {0, 1, 2, 5}; a list separated by blanks is read too."""
    found: set[int] = set()
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def format_cpus(cpus: frozenset[int] | tuple[int, ...]) -> str:
    """The reverse of `parse_cpus`: {0, 1, 2, 5} is `0-2,5`."""
    parts: list[str] = []
    run: list[int] = []
    for cpu in [*sorted(cpus), None]:
        if run and (cpu is None or cpu != run[-1] + 1):
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run = []
        if cpu is not None:
            run.append(cpu)
    return ",".join(parts)


def _natural(path: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts policy10 after policy9."""
    words: list[tuple[int, str]] = []
    digits = letters = ""
    for character in path + "\0":
        if character.isdigit():
            digits += character
            continue
        if digits:
            words.append((int(digits), letters))
            digits = letters = ""
        letters += character
    return (*words, (0, letters))
