"""Calibrations as a file: an uncompressed .npz that numpy alone reads, no pickle, every size checked."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.errors import CodecError

FORMAT = "dvfo-channel-calibrations-1"
_HEADER = "header.json"


def save_calibrations(path: str | Path, calibrations: Sequence[ChannelCalibration]) -> None:
    """Write them to `path`, whole or not at all; equal calibrations give equal bytes."""
    path = Path(path)
    header: dict[str, Any] = {"format": FORMAT, "tensors": []}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for i, calibration in enumerate(calibrations):
            header["tensors"].append(
                {
                    "channel_axis": calibration.channel_axis,
                    "digest": calibration.digest().hex(),
                    "shape": list(calibration.shape),
                }
            )
            for name, array in calibration.arrays().items():
                entry = io.BytesIO()
                np.lib.format.write_array(entry, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{i}/{name}.npy"), entry.getvalue())
        archive.writestr(zipfile.ZipInfo(_HEADER), json.dumps(header, indent=1, sort_keys=True))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(written.getvalue())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_calibrations(path: str | Path) -> list[ChannelCalibration]:
    """The calibrations of a file of `save_calibrations`.

    Raises CodecError naming the file when it is missing, torn, of another format, or was changed by hand.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise CodecError(f"{path}: an entry is compressed")
            header = json.loads(archive.read(_HEADER))
            if header["format"] != FORMAT:
                raise CodecError(f"{path}: format: {header['format']!r} instead of {FORMAT!r}")
            return [_load_one(path, archive, i, entry) for i, entry in enumerate(header["tensors"])]
    except CodecError:
        raise
    except (
        OSError,
        zipfile.BadZipFile,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise CodecError(f"{path}: is no file of calibrations: {error}") from None


def _load_one(path: Path, archive: zipfile.ZipFile, i: int, entry: dict[str, Any]) -> ChannelCalibration:
    prefix = f"{i}/"
    names = [name for name in archive.namelist() if name.startswith(prefix)]
    arrays = {name.removeprefix(prefix).removesuffix(".npy"): _array(archive.read(name)) for name in names}
    try:
        calibration = ChannelCalibration.from_arrays(
            tuple(entry["shape"]), int(entry["channel_axis"]), arrays
        )
    except CodecError as error:
        raise CodecError(f"{path}: tensor {i}: {error}") from None
    if calibration.digest().hex() != entry["digest"]:
        raise CodecError(f"{path}: tensor {i}: digest: does not fit its arrays")
    return calibration


def _array(data: bytes) -> NDArray[Any]:
    """An array of an .npy entry; as many bytes as its header declares must be there."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array is not of .npy version 1.0")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    left = len(data) - stream.tell()
    if fortran_order or dtype.hasobject or left != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of {dtype} {shape} has {left} bytes")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)
