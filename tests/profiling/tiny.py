"""A network small enough to measure in a test."""

from __future__ import annotations

from torch import Tensor, nn

from dvfo_env.profiling.plan import Network

SHAPE = (3, 32, 32)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 32, 3, padding=1)
        self.third = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.head = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        features = self.third(self.second(self.first(image).relu()).relu()).relu()
        answer: Tensor = self.head(features.mean(dim=(2, 3)))
        return answer


def build() -> nn.Module:
    return Tiny()


def network() -> Network:
    import torch

    from dvfo_env.workloads.from_torch import trace_torch

    operations = trace_torch(build(), torch.zeros(1, *SHAPE)).merged.operations
    end = len(operations)
    return Network("tiny", "tests.profiling.tiny:build", ("image", "half", "done"), (0, 4, end), SHAPE)
