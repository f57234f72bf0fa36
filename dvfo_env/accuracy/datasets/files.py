"""Where image and weight files lie, and whether they are the ones they should be.

Data that the project fetched or trained lies in the folder named by `DVFO_DATA`, else in
`$XDG_DATA_HOME/dvfo` (`~/.local/share/dvfo` where that is not set).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from dvfo_env.errors import DataError
from dvfo_env.user_data import user_data_folder

FETCH = "make weights"
"""The command that gets every named image and weight file."""

_CHUNK = 1 << 20


def data_folder() -> Path:
    """The user's folder of images and trained weights; it need not exist."""
    named = os.environ.get("DVFO_DATA")
    return Path(named) if named else user_data_folder()


def package_file(package: str, *parts: str) -> Path | None:
    """A file that an installed package brings, without importing the package; None where it is not there."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder).joinpath(*parts)
        if path.is_file():
            return path
    return None


def read_bytes(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def sha256_of_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of files, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as stream:
                while block := stream.read(_CHUNK):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def checked(path: Path, sha256: str) -> Path:
    """The path, if the file has this SHA-256.

    Raises:
        DataError: it has another, or cannot be read.
    """
    found = sha256_of_files([path])
    if found != sha256:
        raise DataError(
            f"{path}: is another file than expected: sha256 {found[:16]}..., not {sha256[:16]}..."
        )
    return path
