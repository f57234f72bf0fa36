"""Running a network whole and cut in two, by torch; what a runner is for any engine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dvfo_env.errors import MeasurementError

if TYPE_CHECKING:
    from dvfo_env.profiling.plan import Network

#: Weights and inputs are random but the same everywhere.
SEED = 0

Call = Callable[[], object]


@dataclass(frozen=True)
class Runner:
    """A network ready to run.

    Calling `whole` runs all of it on the example input. `cut_in_two` gives (head, tail) at an inner cut, 1 to
    `inner_cuts` in execution order: each runs as one piece, as a device that sends at this cut runs the head;
    the tail takes what the head gave. Both are ready, but the tail may not have run yet. `finish` waits until
    the device is done (a GPU answers before it is).
    """

    whole: Call
    inner_cuts: int
    cut_in_two: Callable[[int], tuple[Call, Call]]
    finish: Call


def torch_module(source: str) -> Any:
    """The torch module behind a network's source, in evaluation mode.

    Raises:
        MeasurementError: the source names no torch network.
    """
    kind, _, name = source.partition(":")
    if kind == "shipped":
        from dvfo_env.workloads.networks import build_network

        return build_network(name)
    if kind == "onnx":
        raise MeasurementError(f"{name}: torch does not run ONNX files; use --engine onnxruntime")
    try:
        return getattr(importlib.import_module(kind), name)().eval()
    except (ImportError, AttributeError) as error:
        raise MeasurementError(f"{source}: no such module or function: {error}") from None


def torch_runner(network: Network, threads: int, gpu: bool) -> Runner:
    """Run a network by torch, eagerly, as it comes: fp32, batch 1, no compilation.

    Heads and tails are chains of the segments between cuts: eager torch fuses nothing, so that a chain runs
    the kernels of the whole. Each segment's tensors go as soon as the next has read them; kept alive, they
    alone cost 5 to 10 %.
    """
    import torch

    from dvfo_env.workloads.segments import split_module

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    generator = torch.Generator().manual_seed(SEED)
    example = torch.rand(1, *network.input_shape, generator=generator)
    model = torch_module(network.source)
    if gpu:
        model, example = model.to("cuda"), example.to("cuda")
    segments = split_module(model, example, network.positions)

    def chain(begin: int, end: int, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        for segment in segments[begin:end]:
            tensors = segment(*tensors)[: len(segment.outputs)]  # answers come behind what crosses
        return tensors

    def cut_in_two(cut: int) -> tuple[Call, Call]:
        crossing = chain(0, cut, (example,))
        return lambda: chain(0, cut, (example,)), lambda: chain(cut, len(segments), crossing)

    finish: Call = torch.cuda.synchronize if gpu else nothing
    return Runner(lambda: model(example), len(segments) - 1, cut_in_two, finish)


def nothing() -> None:
    """A CPU is done when the call returns."""
