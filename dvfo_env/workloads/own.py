"""Cards of anybody's own models: from an ONNX file, or from a function that builds a torch module."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.build import build_card, write_card
from dvfo_env.workloads.card import WorkloadCard
from dvfo_env.workloads.cuts import MAX_CUTS, all_cuts
from dvfo_env.workloads.graph import Graph, Shape
from dvfo_env.workloads.library import own_folders, shipped_workloads, user_folder
from dvfo_env.workloads.merging import Merged

if TYPE_CHECKING:
    import torch

INPUT_NAME = "input"


def card_of_onnx(
    path: str | Path,
    name: str,
    input_shape: Sequence[int] | None = None,
    title: str | None = None,
    max_cuts: int = MAX_CUTS,
) -> WorkloadCard:
    """The card of an ONNX model.

    Args:
        path: of the .onnx file.
        name: of the card.
        title: what a reader calls it; the name unless given.
        input_shape: with the batch dimension, for models that leave dimensions open.
        max_cuts: most cuts in the card, both ends included.

    Raises:
        ConfigError: see `trace_onnx`; or the model cannot be cut anywhere inside.
    """
    from dvfo_env.workloads.from_onnx import trace_onnx

    trace = trace_onnx(path, input_shape, INPUT_NAME)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    source = f"{Path(path).name}, sha256 {digest}"
    shapes = [trace.tensors[tensor][0] for tensor, _ in trace.merged.answers]
    return _card(trace.merged, trace.input_shape, shapes, name, title, source, max_cuts)


def card_of_module(
    model: torch.nn.Module,
    example_input: torch.Tensor,
    name: str,
    title: str | None = None,
    source: str | None = None,
    max_cuts: int = MAX_CUTS,
) -> WorkloadCard:
    """The card of a torch module.

    Args:
        model: see `trace_torch`.
        example_input: an input of the right shape, batch 1, on the model's device (`meta` is enough).
        name: of the card.
        title: what a reader calls it; the name unless given.
        source: where the model comes from; the class unless given.
        max_cuts: most cuts in the card, both ends included.

    Raises:
        ConfigError: see `trace_torch`; or the model cannot be cut anywhere inside.
    """
    from dvfo_env.workloads.from_torch import trace_torch

    trace = trace_torch(model, example_input, INPUT_NAME)
    values = {node.name: node.meta["val"] for node in trace.module.graph.nodes if "val" in node.meta}
    shapes = [tuple(values[tensor].shape) for tensor, _ in trace.merged.answers]
    kind = type(model)
    source = source or f"torch module {kind.__module__}.{kind.__qualname__}"
    return _card(trace.merged, trace.input_shape, shapes, name, title, source, max_cuts)


def load_module(spec: str, input_shape: Sequence[int] | None = None) -> tuple[torch.nn.Module, torch.Tensor]:
    """Build a torch module by `module:function`. This runs the code of that module.

    The function takes nothing and gives a module, or a module and an example input. The current folder is
    searched first, as by `python -m`.

    Args:
        spec: `module:function`.
        input_shape: with the batch dimension; needed where the function gives no example input.

    Raises:
        ConfigError: there is no such module or function, it fails, or gives something else.
    """
    import torch

    module_name, _, function_name = spec.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(import_module(module_name), function_name)
        built: Any = function()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"{spec}: {type(error).__name__}: {reason}") from error
    model, example = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
    if not isinstance(model, torch.nn.Module):
        raise ConfigError(f"{spec}: gives {type(model).__name__}, not a torch.nn.Module")
    if input_shape is not None:
        parameter = next(model.parameters(), torch.empty(0))
        example = torch.zeros(tuple(input_shape), device=parameter.device)
    if not isinstance(example, torch.Tensor):
        raise ConfigError(f"{spec}: gives no example input; give --input-shape, such as 1,3,224,224")
    return model, example


def add_card(card: WorkloadCard, folder: Path | str | None = None, overwrite: bool = False) -> Path:
    """Write a card where `load_workload` finds it; returns its path.

    Args:
        card: its name must be no shipped workload's.
        folder: `user_folder()` unless given; in other folders cards are found by name only if
            `DVFO_WORKLOADS` holds the folder.
        overwrite: replace a card of that name.

    Raises:
        ConfigError: the name is taken or is none for a file, or the folder cannot be written.
    """
    check_name(card.name, folder, overwrite)
    target = Path(folder) if folder is not None else user_folder()
    try:
        target.mkdir(parents=True, exist_ok=True)
        return write_card(card, target, origin=f"by dvfo workloads add from {card.source.split(',')[0]}")
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error.strerror}") from error


def check_name(name: str, folder: Path | str | None = None, overwrite: bool = False) -> None:
    """Refuse a name that is taken or is none for a file.

    Raises:
        ConfigError: one line with what would be right.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name.endswith((".yaml", ".yml")):
        raise ConfigError(f"name {name!r}: use letters, digits, dots, dashes and underscores")
    if name in shipped_workloads():
        raise ConfigError(f"name {name!r} is taken by a shipped workload; choose another with --name")
    places = [Path(folder)] if folder is not None else own_folders()
    taken = [place / f"{name}.yaml" for place in places if (place / f"{name}.yaml").exists()]
    if taken and not overwrite:
        raise ConfigError(f"name {name!r} is taken by {taken[0]}; choose another, or --overwrite")


def _card(
    merged: Merged,
    input_shape: Shape,
    answers: Sequence[Sequence[int]],
    name: str,
    title: str | None,
    source: str,
    max_cuts: int,
) -> WorkloadCard:
    if max_cuts < 3:
        raise ConfigError(f"max_cuts: {max_cuts} leaves nothing between both ends; 3 or more")
    graph = Graph(
        name=name,
        title=title or name,
        source=source,
        input_name=INPUT_NAME,
        input_shape=input_shape,
        operations=merged.operations,
        blocks={},
        outputs=merged.outputs,
        answer_bytes=4 * sum(prod(shape) for shape in answers),
        answer_note="assumed: all outputs in fp32",
    )
    card = build_card(replace(graph, blocks=_blocks(graph)), max_cuts=max_cuts)
    if len(card.cuts) < 3:
        raise ConfigError(
            f"{name}: no valid cut: its {len(graph.operations)} operations leave no place worth sending from"
        )
    return card


def _blocks(graph: Graph) -> dict[str, str]:
    """Places that one tensor crosses end a block, unless the next such place is as far and sends less."""
    single = [cut for cut in all_cuts(graph)[1:] if len(cut.tensors) <= 1]
    blocks = {}
    for number, cut in enumerate(single[:-1]):
        following = single[number + 1]
        if following.flops_done > cut.flops_done or not 0 < following.elements < cut.elements:
            blocks[cut.name] = cut.name
    return blocks
