"""The demo networks: what is trained, where the weights lie, and opening them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dvfo_env.accuracy.datasets.files import data_folder, sha256_of_files
from dvfo_env.accuracy.models.preprocessing import Preprocessing
from dvfo_env.accuracy.models.trained import TrainedModel
from dvfo_env.accuracy.models.weights import load_weights
from dvfo_env.errors import DataError
from dvfo_env.workloads.networks import build_network

DEMO_MODELS = ("demo-vgg", "demo-resnet", "demo-mobilenet")
"""Names, as of their workload cards."""

WEIGHTS_FILE, PROVENANCE_FILE = "weights.safetensors", "provenance.json"

DEMO_PREPROCESSING = Preprocessing((28, 28), None, (0.2860 * 255,), (0.3530 * 255,))
"""Mean and standard deviation of Fashion-MNIST's training images."""


def demo_folder(name: str) -> Path:
    """Where the weights and the provenance of a demo network lie."""
    return data_folder() / "models" / name


def open_demo(name: str) -> TrainedModel:
    """A demo network with the weights that `dvfo accuracy train-demo` left.

    Raises:
        DataError: it has not been trained here, or its files are damaged or do not belong together.
    """
    weights, provenance = demo_folder(name) / WEIGHTS_FILE, _provenance(name)
    sha256 = sha256_of_files([weights])
    if provenance.get("sha256") != sha256:
        raise DataError(
            f"{weights}: is not the file that {PROVENANCE_FILE} beside it describes; `{train_command(name)}`"
        )
    module = build_network(name)
    load_weights(module, weights)
    return TrainedModel(
        name=name,
        workload=name,
        module=module,
        preprocessing=DEMO_PREPROCESSING,
        sha256=sha256,
        classes=10,
        provenance=provenance,
    )


def train_command(name: str) -> str:
    """The command that trains a demo network."""
    return f"dvfo accuracy train-demo {name}"


def _provenance(name: str) -> dict[str, Any]:
    path = demo_folder(name) / PROVENANCE_FILE
    if not path.is_file():
        raise DataError(f"model {name}: is not trained on this machine yet; `{train_command(name)}` does it")
    try:
        provenance = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}; `{train_command(name)}` writes it anew") from error
    if not isinstance(provenance, dict):
        raise DataError(f"{path}: is not a JSON object; `{train_command(name)}` writes it anew")
    return provenance
