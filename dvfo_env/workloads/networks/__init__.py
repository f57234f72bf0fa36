"""The networks of the catalogue: plain torch definitions, and what is known about each.

`build_network(name)` gives a module with random weights; `NETWORKS` holds titles, sources and published
figures. The state-dict keys of networks that torchvision has equal torchvision's, so that its weights load
with `load_state_dict`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.networks.catalogue import NETWORKS, Network

if TYPE_CHECKING:
    import torch

__all__ = ["NETWORKS", "Network", "build_network", "example_input"]


def build_network(name: str, seed: int = 0, device: str = "cpu") -> torch.nn.Module:
    """A network of the catalogue in evaluation mode, with random weights.

    Args:
        name: one of `NETWORKS`.
        seed: of the weights; torch's global generator is left as it was.
        device: `meta` gives shapes without memory, enough for tracing.

    Raises:
        ConfigError: no network has this name.
    """
    import torch

    if name not in NETWORKS:
        raise ConfigError(f"network {name!r} is unknown; known are {', '.join(sorted(NETWORKS))}")
    module, _, function = NETWORKS[name].definition.partition(":")
    build = getattr(import_module(f"{__name__}.{module}"), function)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        network: torch.nn.Module = build()
    return network.eval()


def example_input(name: str, seed: int = 0, device: str = "cpu") -> torch.Tensor:
    """A random input of a network, [1, *input_shape], normally distributed."""
    import torch

    if device == "meta":
        return torch.empty(1, *NETWORKS[name].input_shape, device=device)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, *NETWORKS[name].input_shape, generator=generator).to(device)
