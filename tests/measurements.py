"""Where calibration tests find the raw measurements, which are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def measurements_dir() -> Path:
    """The folder of raw measurements: DVFO_MEASUREMENTS, else `../shared/data` beside the repository.

    Skips the calling test, with the reason, where there is no such folder.
    """
    folder = Path(os.environ.get("DVFO_MEASUREMENTS") or _BESIDE_THE_REPOSITORY)
    if not folder.is_dir():
        pytest.skip(f"raw measurements are not at {folder}; set DVFO_MEASUREMENTS to their folder")
    return folder
