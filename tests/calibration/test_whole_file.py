"""A file is written wholly or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_env.errors import ConfigError
from dvfo_env.whole_file import whole_file


def test_the_file_is_there_at_the_end_and_nothing_beside_it(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.txt") as file:
        assert file.suffix == ".txt"
        file.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_failed_write_leaves_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def fail() -> None:
        with whole_file(tmp_path / "a.txt") as file:
            file.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match=r"a\.txt: cannot be written: No space left on device"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_file(tmp_path / "nowhere" / "a.txt") as file:
            file.write_text("new")

    with pytest.raises(ConfigError, match=r"nowhere/a\.txt: cannot be written: No such file"):
        fail()


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    with whole_file(tmp_path / "link.txt") as file:
        file.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "a.txt").read_text() == "new"
    with whole_file("/dev/null") as file:
        assert file == Path("/dev/null")
        file.write_text("gone")
