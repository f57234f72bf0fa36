"""Reading weight files: nothing in them is ever executed, and every tensor must fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from dvfo_env.errors import DataError


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Put the tensors of a `.safetensors` file, or of a state dict saved by torch, into a module.

    Raises:
        DataError: the file cannot be read, or its names or shapes are not the module's.
    """
    tensors = _read(path)
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[1:2] or lines)[:200]
        raise DataError(f"{path}: does not fit {type(module).__name__}: {reason}") from error


def sha256_of_weights(module: torch.nn.Module) -> str:
    """SHA-256 over names and values of all tensors in a module's state dict."""
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(path.read_bytes())
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # unpickling and safetensors raise many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: is no file of weights: {reason}") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(value, torch.Tensor) for value in tensors.values()
    ):
        raise DataError(f"{path}: holds no state dict (names and tensors)")
    return tensors
