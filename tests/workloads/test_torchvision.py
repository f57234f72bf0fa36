"""Definitions whose weights come from torchvision have its state-dict keys, shapes and outputs."""

from __future__ import annotations

import hashlib

import pytest
import torch

from dvfo_env.workloads.networks import build_network, example_input

#: Ours -> torchvision's name, tensors in the state dict, parameters, start of the SHA-256 of the sorted lines
#: "key shape". Taken from torchvision 0.28.0, `torchvision.models.<name>(weights=None)`.
TORCHVISION = {
    "mobilenet-v2": ("mobilenet_v2", 314, 3_504_872, "2a196dc04125b8ce"),
    "efficientnet-b0": ("efficientnet_b0", 360, 5_288_548, "20940b31d23df4a1"),
    "resnet18": ("resnet18", 122, 11_689_512, "f0e35161599236f3"),
    "resnet50": ("resnet50", 320, 25_557_032, "fe1d335c3c7786ff"),
    "resnet152": ("resnet152", 932, 60_192_808, "3446679ffd752d79"),
    "vgg16": ("vgg16", 32, 138_357_544, "e36b43eb356035da"),
    "vgg19": ("vgg19", 38, 143_667_240, "fafd9d516f77ba55"),
    "inception-v3": ("inception_v3", 580, 27_161_264, "bb1903caf15217f2"),
    "vit-b16": ("vit_b_16", 152, 86_567_656, "6fb29f2c47a51ed0"),
    "squeezenet": ("squeezenet1_1", 52, 1_235_496, "a462856ef96ade94"),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCHVISION)
def test_keys_and_shapes_are_those_stored_from_torchvision(name: str) -> None:
    network = build_network(name, device="meta")
    lines = [
        f"{key} {'x'.join(map(str, value.shape))}" for key, value in sorted(network.state_dict().items())
    ]
    _, tensors, parameters, digest = TORCHVISION[name]
    assert len(lines) == tensors
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest().startswith(digest)


@pytest.mark.parametrize(
    "name", ["mobilenet-v2", "efficientnet-b0", "resnet18", "squeezenet", "inception-v3"]
)
def test_with_torchvisions_weights_the_output_is_torchvisions(name: str) -> None:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError: a build for another torch
        pytest.skip(f"torchvision does not load here: {error}")
    theirs = getattr(models, TORCHVISION[name][0])(weights=None).eval()
    ours = build_network(name)
    ours.load_state_dict(theirs.state_dict())
    image = example_input(name)
    with torch.no_grad():
        assert torch.allclose(ours(image), theirs(image), atol=1e-5)
