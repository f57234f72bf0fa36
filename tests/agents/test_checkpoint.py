import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dvfo_agents import checkpoint as module
from dvfo_agents.checkpoint import MANIFEST, newest_whole, read_checkpoint, replace_file, write_checkpoint
from dvfo_env.errors import CheckpointError

FILES = {"weights.bin": bytes(range(256)) * 40, "counters.json": b'{"a": 1}'}
VERSIONS = {"dvfo_env": "0"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for steps in (10, 20, 30):
        write_checkpoint(tmp_path, steps, {**FILES, "counters.json": str(steps).encode()}, VERSIONS)
    return tmp_path


def newest(folder: Path) -> tuple[int | None, list[str]]:
    said: list[str] = []
    found = newest_whole(folder, said.append)
    return (None if found is None else found.steps), said


def test_a_checkpoint_reads_back_what_was_written(folder: Path) -> None:
    found = read_checkpoint(folder / "000000000030")
    assert found.steps == 30
    assert found.files == {**FILES, "counters.json": b"30"}


def test_only_the_newest_are_kept(folder: Path) -> None:
    write_checkpoint(folder, 40, FILES, VERSIONS, keep=2)
    assert sorted(path.name for path in folder.iterdir()) == ["000000000030", "000000000040"]


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert newest(tmp_path) == (None, [])
    assert newest(tmp_path / "missing") == (None, [])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def retitle(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["steps"] = 99
    path.write_text(json.dumps(manifest))


def escape(path: Path) -> None:
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    manifest["files"] = {"../../secret": manifest["files"]["weights.bin"]}
    path.write_text(json.dumps({**manifest, "sha256": module._digest(manifest)}))


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("weights.bin", flip, "sha256"),
        ("weights.bin", lambda path: os.truncate(path, 100), "holds 100 bytes"),
        ("weights.bin", os.unlink, "No such file"),
        (MANIFEST, flip, MANIFEST),
        (MANIFEST, retitle, "altered"),
        (MANIFEST, escape, "outside"),
        (MANIFEST, lambda path: os.truncate(path, 50), "not JSON"),
        (MANIFEST, lambda path: path.write_text("[]"), "not the manifest"),
        (MANIFEST, os.unlink, "No such file"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_one_line(
    folder: Path, name: str, damage: Callable[[Path], object], says: str
) -> None:
    damage(folder / "000000000030" / name)
    steps, said = newest(folder)
    assert steps == 20
    assert len(said) == 1
    assert says in said[0]
    assert "\n" not in said[0]


def test_where_none_is_whole_the_error_says_so(folder: Path) -> None:
    for path in folder.iterdir():
        flip(path / "weights.bin")
    with pytest.raises(CheckpointError, match="no checkpoint is whole") as caught:
        newest(folder)
    assert "000000000030" in str(caught.value)


def test_damaged_later_ones_never_push_out_good_ones(folder: Path) -> None:
    for steps in (20, 30):
        flip(folder / f"{steps:012d}" / "weights.bin")
    write_checkpoint(folder, 15, FILES, VERSIONS, keep=1)
    assert newest(folder)[0] == 15


def test_another_format_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION", 2)
    with pytest.raises(CheckpointError, match="format version 1, this release reads 2"):
        read_checkpoint(folder / "000000000030")


@pytest.mark.parametrize("at_file", [0, 1, 2])
def test_a_full_disk_leaves_the_earlier_checkpoints(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at_file: int
) -> None:
    written: list[Path] = []
    real = module.write_flushed

    def full(path: Path, content: bytes) -> None:
        if len(written) == at_file:
            path.write_bytes(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        real(path, content)

    monkeypatch.setattr(module, "write_flushed", full)
    with pytest.raises(CheckpointError, match="No space left on device; earlier checkpoints are untouched"):
        write_checkpoint(folder, 40, FILES, VERSIONS)
    assert sorted(path.name for path in folder.iterdir()) == ["000000000010", "000000000020", "000000000030"]
    assert newest(folder) == (30, [])


def test_what_a_crash_left_half_written_is_ignored_and_removed(folder: Path) -> None:
    half = folder / ".writing-000000000040"
    half.mkdir()
    (half / "weights.bin").write_bytes(b"half")
    assert newest(folder) == (30, [])
    write_checkpoint(folder, 50, FILES, VERSIONS)
    assert not half.exists()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.yaml"]
