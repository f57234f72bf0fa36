"""The journal is either right or refused, and nothing is written before it is on the disk."""

from __future__ import annotations

import json
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dvfo_controller.board import Board
from dvfo_controller.safety import Governor, Wanted
from dvfo_controller.safety.keeper import restore
from dvfo_env.errors import BoardError
from dvfo_env.hardware.originals import Journal, Original, _digest
from dvfo_env.hardware.sysfs import SysFs
from tests.controller.trees import TX2, build, contents

STATE = "var/lib/dvfo-controller"


def governed(root: Path, state: Path | None = None) -> Governor:
    return Governor(Board.discover(root), state, tell=lambda line: None)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A board whose clocks a run was told to keep: its journal is there."""
    build(TX2, tmp_path)
    with Governor(Board.discover(tmp_path), on_exit="keep", tell=lambda line: None) as governor:
        governor.apply(Wanted(cpu_mhz=960.0))
    return tmp_path


def torn(text: str) -> str:
    return text[: len(text) // 2]


def one_digit_changed(text: str) -> str:
    return text.replace("2035200", "2035201", 1)


def outside(text: str) -> str:
    document = json.loads(text)
    document["originals"][0]["files"][0][0] = "sys/../etc/passwd"
    body = {key: document[key] for key in ("about", "originals")}
    return json.dumps(document | {"sha256": _digest(body)})


def of_another_format(text: str) -> str:
    return text.replace("dvfo-clocks/1", "dvfo-clocks/9")


@pytest.mark.parametrize(
    "change", [torn, one_digit_changed, outside, of_another_format, lambda text: "", lambda text: "[" * 10**5]
)
def test_a_journal_that_is_not_right_is_refused_and_nothing_written(
    left: Path, change: Callable[[str], str]
) -> None:
    path = left / STATE / "originals.json"
    path.write_text(change(path.read_text()))
    before = contents(left)
    with pytest.raises(BoardError, match=r"originals\.json: the saved clocks cannot be read") as caught:
        restore(SysFs(left))
    assert "\n" not in str(caught.value)
    with pytest.raises(BoardError, match=r"originals\.json"), governed(left):
        pass
    assert contents(left) == before
    assert path.exists()


def test_a_journal_that_others_may_write_is_refused(left: Path) -> None:
    (left / STATE / "originals.json").chmod(0o666)
    with pytest.raises(BoardError, match="others than its owner"):
        restore(SysFs(left))


def test_on_a_full_disk_nothing_is_changed(tmp_path: Path) -> None:
    before = contents(build(TX2, tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))  # no file may grow beyond 64 bytes
    try:
        with pytest.raises(BoardError, match="cannot be saved, so none is changed: File too large"):
            governed(tmp_path).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == before
    assert [path.name for path in (tmp_path / STATE).iterdir()] == ["lock"]
    with governed(tmp_path) as governor:
        assert governor.apply(Wanted(cpu_mhz=960.0)).cpu_mhz == 960.0
    assert contents(tmp_path) == before


def test_a_full_disk_leaves_the_journal_that_was_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "originals.json")
    first = (Original((("sys/a", "1"),)),)
    journal.write(first)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(BoardError):
            journal.write((Original((("sys/b", "2"),)),))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.read().originals == first


def test_a_state_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    before = contents(build(TX2, tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(BoardError, match="cannot be made"), governed(tmp_path, tmp_path / "file/state"):
        pass
    assert contents(tmp_path) == before


def test_the_journal_is_flushed_with_its_folder_before_the_first_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    flush, put = os.fsync, SysFs.write

    def fsync(descriptor: int) -> None:
        happened.append("flushed")
        flush(descriptor)

    def write(self: SysFs, path: str, text: str) -> None:
        happened.append("written")
        put(self, path, text)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr(SysFs, "write", write)
    build(TX2, tmp_path)
    with governed(tmp_path) as governor:
        governor.apply(Wanted(cpu_mhz=960.0))
    assert happened[:3] == ["flushed", "flushed", "written"]


def test_a_second_controller_is_refused_and_the_first_one_named(tmp_path: Path) -> None:
    build(TX2, tmp_path)
    with governed(tmp_path) as governor:
        governor.apply(Wanted(cpu_mhz=960.0))
        with pytest.raises(BoardError, match=rf"process {os.getpid()}\) runs already"):
            governed(tmp_path).__enter__()
        with pytest.raises(BoardError, match="runs already"):
            restore(SysFs(tmp_path))


def test_nobody_else_may_write_the_journal_whatever_the_mask_of_permissions(tmp_path: Path) -> None:
    build(TX2, tmp_path)
    mask = os.umask(0)
    try:
        with governed(tmp_path) as governor:
            governor.apply(Wanted(cpu_mhz=960.0))
            assert (tmp_path / STATE / "originals.json").stat().st_mode & 0o022 == 0
            assert governor.apply(Wanted(cpu_mhz=960.0)).cpu_mhz == 960.0
    finally:
        os.umask(mask)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    build(TX2, tmp_path)
    (tmp_path / STATE).mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    (tmp_path / STATE / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(BoardError, match="lock: cannot be made"), governed(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_rights_every_clock_is_masked_and_nothing_fails() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = Path(folder)
        before = contents(build(TX2, root))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setresuid(65534, 65534, 65534)
                with governed(root) as governor:
                    applied = governor.apply(Wanted(960.0, 522.75, 1600.0))
                code = 0 if set(applied.masked) == {"cpu", "gpu", "memory"} else 3
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert contents(root) == before
