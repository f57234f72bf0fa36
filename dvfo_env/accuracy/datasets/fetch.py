"""Fetches the named images from Debian's packages into the data folder; needs apt-get and dpkg, not root.

    python -m dvfo_env.accuracy.datasets.fetch

What is there already stays. Every file is checked before it is put in place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dvfo_env.accuracy.datasets.files import checked, data_folder
from dvfo_env.accuracy.datasets.idx import FASHION_MNIST_MD5, holds_idx, open_fashion_mnist, open_idx
from dvfo_env.accuracy.datasets.photograph_files import CALIBRATION
from dvfo_env.accuracy.datasets.photographs import open_photographs
from dvfo_env.errors import DataError, DvfoError

FASHION_MNIST_PACKAGE = "dataset-fashion-mnist"


def fetch_all() -> list[str]:
    """Get Fashion-MNIST and the Debian photographs if they are not there; one line for each set.

    Raises:
        DataError: a package cannot be had, or its files are not the expected ones.
    """
    lines = []
    try:
        open_fashion_mnist()
    except DataError:
        _fetch_fashion_mnist()
    images = open_fashion_mnist()
    lines.append(f"fashion-mnist: {len(images.train):,} + {len(images.test):,} images")
    _fetch_photographs()
    photographs = open_photographs()
    lines.append(f"photographs: {photographs.test.name}; {photographs.train.name}")
    return lines


def _fetch_fashion_mnist() -> None:
    target = data_folder() / "fashion-mnist"
    with tempfile.TemporaryDirectory() as scratch:
        tree = _unpack(FASHION_MNIST_PACKAGE, Path(scratch))
        folder = next((path.parent for path in tree.rglob("train-images-idx3-ubyte*")), tree)
        if not holds_idx(folder):
            raise DataError(f"{FASHION_MNIST_PACKAGE}: the package does not hold the four IDX files")
        open_idx(folder, "fashion-mnist", FASHION_MNIST_MD5)
        for path in sorted(folder.glob("*-ubyte*")):
            _place(path, target / path.name)


def _fetch_photographs() -> None:
    target = data_folder() / "photographs"
    wanted: dict[str, list[tuple[str, str]]] = {}
    for file in CALIBRATION:
        if file.debian and not (target / file.path).is_file():
            wanted.setdefault(file.package, []).append((file.path, file.sha256))
    for package, files in wanted.items():
        with tempfile.TemporaryDirectory() as scratch:
            tree = _unpack(package, Path(scratch))
            for name, sha256 in files:
                found = next(tree.rglob(name), None)
                if found is None:
                    raise DataError(f"{package}: the package does not hold {name}")
                _place(checked(found, sha256), target / name)


def _unpack(package: str, scratch: Path) -> Path:
    """Download and unpack a Debian package; the folder of its tree."""
    print(f"fetching Debian's {package}", flush=True)
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise DataError(
            f"{package}: needs apt-get and dpkg (Debian, Ubuntu); docs/accuracy.md names other ways"
        )
    try:
        _run(["apt-get", "-q", "download", package], scratch)
        archive = next(scratch.glob("*.deb"))
        _run(["dpkg", "-x", archive.name, "tree"], scratch)
    except (subprocess.CalledProcessError, StopIteration) as error:
        said = str(getattr(error, "stderr", "") or "").strip().splitlines()
        reason = next((line for line in said if line.startswith("E:")), "no package came")
        raise DataError(f"{package}: apt-get download failed: {reason} (`apt-get update` first?)") from error
    return scratch / "tree"


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def _place(source: Path, target: Path) -> None:
    """Copy a file so that it is either all there or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, beside)
    os.replace(beside, target)


def main() -> int:
    """Fetch, and say what there is; 2 where something is missing."""
    try:
        for line in fetch_all():
            print(line)
    except DvfoError as error:
        print(f"dvfo: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
