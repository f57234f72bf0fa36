"""Crash-safe checkpoints: a directory of plain files with a manifest, whole or not there at all.

    checkpoints/000001048576/manifest.json     format, steps, versions, size and sha256 of every other file
                             *.safetensors, *.npy, *.json

A checkpoint is written under a temporary name, every file is flushed to the disk, then the manifest, then the
directory is renamed and its parent flushed. A crash at any moment leaves the earlier checkpoints untouched
and at most a temporary directory, which the next save removes. Nothing here is or contains a pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dvfo_env.errors import CheckpointError

FORMAT = "dvfo-checkpoint"
VERSION = 1
MANIFEST = "manifest.json"
_TEMPORARY = ".writing-"


class Checkpoint(NamedTuple):
    """A checkpoint that has been read and found whole: files as bytes by name, versions of what wrote it."""

    path: Path
    steps: int
    files: dict[str, bytes]
    versions: dict[str, str]


def write_checkpoint(
    folder: Path, steps: int, files: Mapping[str, bytes], versions: Mapping[str, str], keep: int = 3
) -> Path:
    """Write `files` as the checkpoint of `steps` in `folder` and keep the newest `keep` ones; returns its
    path.

    Raises:
        CheckpointError: it cannot be written (disk full, no permission); earlier checkpoints are as they
            were.
    """
    final = folder / f"{steps:012d}"
    temporary = folder / f"{_TEMPORARY}{steps:012d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(old)
        temporary.mkdir()
        for name, content in files.items():
            write_flushed(temporary / name, content)
        write_flushed(temporary / MANIFEST, _manifest(steps, files, versions))
        flush_folder(temporary)
        if final.exists():  # a torn one: the run resumed from an earlier one and has come here again
            shutil.rmtree(final)
        temporary.rename(final)
        flush_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"{final}: cannot be written: {error.strerror or error}; earlier checkpoints are untouched"
        ) from None
    earlier = [
        path for path in _newest_first(folder) if int(path.name) <= steps
    ]  # later ones can only be torn
    for old in earlier[keep:]:
        (old / MANIFEST).unlink(missing_ok=True)  # first, so that a half-removed one is plainly not whole
        shutil.rmtree(old, ignore_errors=True)
    return final


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and verify it against its manifest.

    Raises:
        CheckpointError: it is missing, torn, altered, or of another format; names the file.
    """
    try:
        manifest = _parse_manifest(path)
        files = {}
        for name, about in manifest["files"].items():
            content = (path / name).read_bytes()
            if len(content) != about["bytes"]:
                raise CheckpointError(
                    f"{path / name}: holds {len(content)} bytes, the manifest says {about['bytes']}"
                )
            if hashlib.sha256(content).hexdigest() != about["sha256"]:
                raise CheckpointError(f"{path / name}: its sha256 is not the one in the manifest")
            files[name] = content
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or path}: cannot be read: {error.strerror or error}"
        ) from None
    return Checkpoint(path, manifest["steps"], files, manifest["versions"])


def newest_whole(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint in `folder` that is whole, or None where there is none at all.

    Each newer one that is not whole is skipped, with one line to `warn`.

    Raises:
        CheckpointError: there are checkpoints, but none is whole; the message is about the newest.
    """
    first: CheckpointError | None = None
    for path in _newest_first(folder):
        try:
            return read_checkpoint(path)
        except CheckpointError as error:
            warn(f"skipping a checkpoint: {error}")
            first = first or error
    if first is not None:
        raise CheckpointError(f"{folder}: no checkpoint is whole; the newest: {first}")
    return None


def newest_saved(run: Path, warn: Callable[[str], None]) -> Checkpoint:
    """As `newest_whole` of the run folder `run`, where something must have been saved.

    Raises:
        CheckpointError: there is no whole checkpoint.
    """
    checkpoint = newest_whole(run / "checkpoints", warn)
    if checkpoint is None:
        raise CheckpointError(f"{run}: nothing has been saved yet")
    return checkpoint


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and force it to the disk; OSError when that fails."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, where the platform can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path` at once: readers see the old file or the new one."""
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    write_flushed(temporary, content)
    temporary.replace(path)
    flush_folder(path.parent)


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _manifest(steps: int, files: Mapping[str, bytes], versions: Mapping[str, str]) -> bytes:
    about = {
        "format": FORMAT,
        "version": VERSION,
        "steps": steps,
        "versions": dict(versions),
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(files.items())
        },
    }
    return json.dumps({**about, "sha256": _digest(about)}, indent=1).encode()


def _digest(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _parse_manifest(path: Path) -> dict[str, Any]:
    where = path / MANIFEST
    try:
        manifest = json.loads(where.read_bytes())
    except ValueError:  # not JSON, or not text at all
        raise CheckpointError(f"{where}: is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{where}: is not the manifest of a checkpoint")
    if manifest.get("version") != VERSION:
        raise CheckpointError(
            f"{where}: format version {manifest.get('version')!r}, this release reads {VERSION}"
        )
    digest = manifest.pop("sha256", None)
    if digest != _digest(manifest):
        raise CheckpointError(f"{where}: has been altered: its own sha256 does not fit")
    if any(Path(name).name != name for name in manifest["files"]):
        raise CheckpointError(f"{where}: names a file outside the checkpoint")
    return manifest
