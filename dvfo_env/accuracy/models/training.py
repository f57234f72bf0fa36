"""Trains the demo networks on Fashion-MNIST.

Stochastic gradient descent with Nesterov's momentum and the one-cycle schedule (Smith and Topin 2017, arXiv
1708.07120), images mirrored at random. Nothing is chosen by the test images; they are looked at once, at the
end. The same seed, number of threads, torch and kind of processor give the same weights, bit by bit.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dvfo_env.accuracy.datasets import DataSplits, open_images
from dvfo_env.accuracy.models.demo import (
    DEMO_PREPROCESSING,
    PROVENANCE_FILE,
    WEIGHTS_FILE,
    demo_folder,
    open_demo,
    train_command,
)
from dvfo_env.errors import DataError
from dvfo_env.workloads.networks import build_network

BATCH = 128
PEAK_RATE = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4

EPOCHS = {"demo-vgg": 6, "demo-resnet": 5, "demo-mobilenet": 8}
"""Some minutes each on two cores: demo-vgg takes 231 s on a Xeon at 2.3 GHz."""

Progress = Callable[["Step"], None]


@dataclass(frozen=True)
class Step:
    """How far a training run has come.

    Attributes:
        epoch, step: done, of `epochs` and `steps` (an epoch's).
        loss: mean cross-entropy of this epoch so far.
        seconds: since the start.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float

    @property
    def remaining_s(self) -> float:
        """Seconds left, at the pace so far."""
        done = (self.epoch * self.steps + self.step) / (self.epochs * self.steps)
        return self.seconds * (1 - done) / done


def train_demo(
    name: str,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
    images: DataSplits | None = None,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Train a demo network, store its weights and their provenance, and return the provenance.

    The files appear when training is through; a run that is broken off leaves what was there before.

    Args:
        name: one of `DEMO_MODELS`.
        seed: of first weights, order and mirroring.
        threads: of torch; all cores unless given. Other numbers give slightly other weights.
        progress: is told about every step.
        images: Fashion-MNIST unless given.
        epochs: `EPOCHS` unless given.

    Raises:
        DataError: no demo network has this name, images are missing, or the folder cannot be written.
    """
    if name not in EPOCHS:
        raise DataError(f"model {name!r}: can be trained are {', '.join(EPOCHS)}")
    images = images or open_images("fashion-mnist")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or os.cpu_count() or 1)
    try:
        epochs = epochs or EPOCHS[name]
        started = time.monotonic()
        module = _train(build_network(name, seed), images, seed, epochs, progress)
        provenance = _provenance(name, seed, epochs, images, time.monotonic() - started)
        return _store(name, module, images, provenance)
    finally:
        torch.set_num_threads(before)


def _train(
    module: nn.Module, images: DataSplits, seed: int, epochs: int, progress: Progress | None
) -> nn.Module:
    """The module trained; in channels-last layout, which is 1.2 to 1.8 times as fast on CPUs."""
    inputs = DEMO_PREPROCESSING.scale(images.train.images(0, len(images.train)))
    labels = torch.tensor(images.train.labels)
    module = module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    steps = -(-len(labels) // BATCH)
    optimiser = torch.optim.SGD(
        module.parameters(), lr=PEAK_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=epochs * steps)
    generator = torch.Generator().manual_seed(seed)
    started = time.monotonic()
    for epoch in range(epochs):
        total = 0.0
        for step, (batch, wanted) in enumerate(_batches(inputs, labels, generator), start=1):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(module(batch), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
            if progress is not None:
                seconds = time.monotonic() - started
                progress(Step(epoch, epochs, step, steps, total / step, seconds))
    return module.eval()


def _batches(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """All images once, in random order, half of them mirrored."""
    order = torch.randperm(len(labels), generator=generator)
    for start in range(0, len(labels), BATCH):
        indices = order[start : start + BATCH]
        batch = inputs[indices]
        mirrored = torch.rand(len(indices), generator=generator) < 0.5
        batch[mirrored] = batch[mirrored].flip(3)
        yield batch.contiguous(memory_format=torch.channels_last), labels[indices]


def _provenance(name: str, seed: int, epochs: int, images: DataSplits, seconds: float) -> dict[str, Any]:
    threads = torch.get_num_threads()
    return {
        "name": name,
        "command": f"{train_command(name)} --seed {seed} --threads {threads}",
        "trained_on": {"name": images.train.name, "images": len(images.train), "sha256": images.train.sha256},
        "epochs": epochs,
        "seconds": round(seconds, 1),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "machine": platform.machine(),
    }


def _store(name: str, module: nn.Module, images: DataSplits, provenance: dict[str, Any]) -> dict[str, Any]:
    """Write weights and provenance, each in one step; then count what the stored network gets right."""
    import hashlib

    folder = demo_folder(name)
    data = save({key: value.contiguous() for key, value in module.state_dict().items()})
    provenance["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / WEIGHTS_FILE, data)
        _write(folder / PROVENANCE_FILE, _json(provenance))
        correct = _correct(name, images)
        provenance["test"] = {
            "name": images.test.name,
            "images": len(images.test),
            "sha256": images.test.sha256,
            "correct": correct,
            "accuracy_percent": round(100 * correct / len(images.test), 2),
        }
        _write(folder / PROVENANCE_FILE, _json(provenance))
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
    return provenance


def _correct(name: str, images: DataSplits) -> int:
    """How many test images the stored network gets right."""
    model = open_demo(name)
    scores = model.logits(images.test.images(0, len(images.test)), batch=500)
    return int((scores.argmax(1) == torch.tensor(images.test.labels)).sum())


def _json(provenance: dict[str, Any]) -> bytes:
    return (json.dumps(provenance, indent=2) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
