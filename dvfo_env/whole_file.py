"""Writing a file wholly or not at all: a full disk leaves what was there before, and no torn rest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dvfo_env.errors import ConfigError


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """The path to write to, beside `path` and with its ending; it takes the place of `path` at the end.

    Where the block fails, what was written goes. A link stays one; a pipe or terminal is written directly.

    Raises:
        ConfigError: the file cannot be written.
    """
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            yield target
            return
        target = target.resolve()
        beside = target.with_name(f".new-{os.getpid()}-{target.name}")
        try:
            yield beside
            os.replace(beside, target)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_whole(path: Path | str, text: str) -> Path:
    """Write text (UTF-8, lines ended by a line feed) wholly or not at all, making the folder.

    Raises:
        ConfigError: the file or its folder cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{target.parent}: cannot be made: {error.strerror or error}") from None
    with whole_file(target) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
    return target
