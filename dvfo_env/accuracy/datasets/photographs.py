"""Natural photographs at the size of ImageNet's, and views of them.

Twenty carry an ImageNet class and are tested on (`LABELLED`), thirty-one others serve calibration alone
(`CALIBRATION`): twenty are too few to share.
Views of one photograph are not independent: they share a cluster, and intervals go over clusters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from dvfo_env.accuracy.datasets.files import FETCH, checked, data_folder, package_file
from dvfo_env.accuracy.datasets.images import DataSplits, Image, LabelledImages, read_only
from dvfo_env.accuracy.datasets.photograph_files import CALIBRATION, LABELLED, PhotographFile
from dvfo_env.accuracy.datasets.views import read_picture, view_of
from dvfo_env.errors import DataError

VIEWS = 10
"""Views of a photograph, the photograph itself included."""

CLASSES = 1000

_SHORTER_SIDE = 512
"""Calibration photographs are scaled down to about the size of the labelled ones."""


def open_photographs(views: int = VIEWS, seed: int = 0) -> DataSplits:
    """Views of photographs: tested are all labelled ones, calibrated is on the others alone.

    Args:
        views: of each photograph; the first is the photograph itself.
        seed: of the views.

    Raises:
        DataError: a photograph is missing or is another file than expected, or `views` is below 1.
    """
    if views < 1:
        raise DataError(f"photographs: {views} views; at least 1")
    return DataSplits(
        "photographs",
        train=_views("photographs train", CALIBRATION, views, seed),
        test=_views("photographs test", LABELLED, views, seed),
    )


def photograph_path(file: PhotographFile) -> Path:
    """Where a photograph lies on this machine.

    Raises:
        DataError: it is not there, or is another file than expected.
    """
    if file.debian:
        path = data_folder() / "photographs" / file.path
        found = path if path.is_file() else None
    else:
        found = package_file(file.package, *file.path.split("/"))
    if found is None:
        raise DataError(
            f"photographs: {file.path} of the package {file.package} is missing; `{FETCH}` gets it"
        )
    return checked(found, file.sha256)


def _views(name: str, files: Sequence[PhotographFile], views: int, seed: int) -> LabelledImages:
    """The photographs themselves, then the second view of each, and so on."""
    paths = [_path(file) for file in files]
    keys = [int(file.sha256[:8], 16) for file in files]
    count = len(files)

    def read(index: int) -> Image:
        photograph, view = index % count, index // count
        path = paths[photograph]
        picture = _picture(path, None if files[photograph] in LABELLED else _SHORTER_SIDE)
        return view_of(picture, keys[photograph], view, seed)

    def digest() -> str:
        digests = "\n".join(file.sha256 for file in files)
        return hashlib.sha256(f"{views} views, seed {seed}\n{digests}".encode()).hexdigest()

    return LabelledImages(
        name=f"{name}: {count} photographs x {views} views",
        classes=CLASSES,
        labels=read_only([file.label for file in files] * views),
        clusters=read_only(list(range(count)) * views),
        reader=read,
        digest=digest,
    )


_path = cache(photograph_path)
_picture = lru_cache(maxsize=len(LABELLED) + len(CALIBRATION))(read_picture)
