"""The split plan: what device and server agree on beside the model, a folder of JSON and calibrations.

    NAME.split/split.json         cuts by name with the tensors that cross them, how images are scaled
    NAME.split/calibration-N.npz  per-channel ranges of the tensors that cross cut N

Made by `dvfo_export.split_plan`. Both sides hold the same files: the digest of split.json, which contains
those of all others, is compared when a session opens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.split.cutting import Cut, Network
from dvfo_env.codecs import ChannelCalibration, load_calibrations, save_calibrations
from dvfo_env.errors import CodecError, SplitError
from dvfo_env.whole_file import write_whole

FORMAT = "dvfo-split/1"
_FILE = "split.json"
#: Digest of a session without a plan.
NO_PLAN = "0" * 64


@dataclass(frozen=True)
class Scaling:
    """How an image of bytes becomes the network's input: (value - mean) / std, channels first.

    mean, std: of each channel, for values from 0 to 255.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [H, W, C] -> float32 [C, H, W]. Raises SplitError when the channels do not fit."""
        if image.ndim != 3 or image.shape[2] != len(self.mean):
            raise SplitError(f"image: {image.shape} instead of [height, width, {len(self.mean)}]")
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        scaled = np.empty((len(self.mean), *image.shape[:2]), np.float32)
        np.subtract(image.transpose(2, 0, 1), mean, out=scaled)
        scaled /= std
        return scaled


@dataclass(frozen=True)
class SplitPlan:
    """Cuts by name, calibrations by cut name, and how images are scaled.

    calibrated_on: what the calibrations were measured on, in words.
    digest: sha256 of split.json, hexadecimal.
    """

    model_sha256: str
    cuts: tuple[Cut, ...]
    calibrations: Mapping[str, Sequence[ChannelCalibration]] = field(default_factory=dict)
    scaling: Scaling | None = None
    calibrated_on: str = ""
    digest: str = NO_PLAN

    def check(self, network: Network) -> None:
        """Raises SplitError when the plan is of another model or its calibrations do not fit."""
        if network.digest != self.model_sha256:
            raise SplitError(f"plan: is of model {self.model_sha256[:12]}, not of {network.digest[:12]}")
        for cut in self.cuts:
            network.cut(cut.tensors, cut.answers, cut.name)
            shapes = [codec_shape(network.tensors[name].shape) for name in cut.tensors]
            found = self.calibrations.get(cut.name)
            if found is not None and [calibration.shape for calibration in found] != shapes:
                raise SplitError(f"plan: calibration of cut {cut.name!r}: does not have the shapes {shapes}")


def codec_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor's shape as codecs and cards have it: without the batch dimension."""
    return (shape[1:] if len(shape) > 1 and shape[0] == 1 else shape) or (1,)


def write_plan(folder: Path | str, plan: SplitPlan) -> SplitPlan:
    """Write a plan and return it with its digest.

    Raises:
        ConfigError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, cut in enumerate(plan.cuts):
        entry: dict[str, Any] = {
            "name": cut.name,
            "tensors": list(cut.tensors),
            "answers": list(cut.answers),
        }
        if cut.name in plan.calibrations:
            file = folder / f"calibration-{number:03d}.npz"
            save_calibrations(file, plan.calibrations[cut.name])
            entry["calibration"] = {"file": file.name, "sha256": _sha256(file.read_bytes())}
        entries.append(entry)
    scaling = plan.scaling
    text = json.dumps(
        {
            "format": FORMAT,
            "model_sha256": plan.model_sha256,
            "scaling": scaling and {"mean": list(scaling.mean), "std": list(scaling.std)},
            "calibrated_on": plan.calibrated_on,
            "cuts": entries,
        },
        indent=1,
    )
    write_whole(folder / _FILE, text + "\n")
    return read_plan(folder)


def read_plan(folder: Path | str) -> SplitPlan:
    """Read a plan.

    Raises:
        SplitError: naming the file that is missing, torn, of another format or was changed.
    """
    folder = Path(folder)
    file = folder / _FILE
    try:
        data = file.read_bytes()
        found = json.loads(data)
        if found["format"] != FORMAT:
            raise SplitError(f"{file}: format: {found['format']!r} instead of {FORMAT!r}")
        scaling = found["scaling"] and Scaling(
            tuple(map(float, found["scaling"]["mean"])), tuple(map(float, found["scaling"]["std"]))
        )
        cuts, calibrations = [], {}
        for entry in found["cuts"]:
            cut = Cut(str(entry["name"]), tuple(entry["tensors"]), tuple(entry["answers"]))
            cuts.append(cut)
            if "calibration" in entry:
                calibrations[cut.name] = _calibrations(folder, entry["calibration"])
        return SplitPlan(
            str(found["model_sha256"]),
            tuple(cuts),
            calibrations,
            scaling,
            str(found["calibrated_on"]),
            _sha256(data),
        )
    except OSError as error:
        raise SplitError(f"{error.filename or file}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SplitError(f"{file}: is no split plan: {error}") from None


def _calibrations(folder: Path, entry: Mapping[str, str]) -> list[ChannelCalibration]:
    file = folder / Path(entry["file"]).name
    if _sha256(file.read_bytes()) != entry["sha256"]:
        raise SplitError(f"{file}: is not the file that {_FILE} names")
    try:
        return load_calibrations(file)
    except CodecError as error:
        raise SplitError(str(error)) from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
