"""From a traced model to a `Graph` with names and blocks, for the catalogue and for anybody's own model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dvfo_env.workloads.graph import Graph, Operation
from dvfo_env.workloads.merging import Merged
from dvfo_env.workloads.networks.catalogue import NETWORKS, Network


def catalogue_graph(name: str) -> Graph:
    """The graph of a network of the catalogue, traced from its torch definition (takes a second or two)."""
    from dvfo_env.workloads.from_torch import trace_torch
    from dvfo_env.workloads.networks import build_network, example_input

    network = NETWORKS[name]
    trace = trace_torch(
        build_network(name, device="meta"), example_input(name, device="meta"), network.input_name
    )
    merged = rename_layers(trace.merged, network.layer)
    return Graph(
        name=network.name,
        title=network.title,
        source=network.source,
        input_name=network.input_name,
        input_shape=trace.input_shape,
        operations=merged.operations,
        blocks=_blocks(network, merged.operations),
        outputs=merged.outputs,
        answer_bytes=network.answer_bytes,
        answer_note=network.answer_note,
        published=network.published,
    )


def rename_layers(merged: Merged, rename: Callable[[str], str]) -> Merged:
    """The same operations under other names; names must stay unique."""
    names = {operation.name: rename(operation.name) for operation in merged.operations}
    operations = tuple(
        replace(
            operation,
            name=names[operation.name],
            inputs=tuple(names.get(read, read) for read in operation.inputs),
        )
        for operation in merged.operations
    )
    return Merged(
        operations=operations,
        members={names[name]: members for name, members in merged.members.items()},
        tensor_of={names[name]: tensor for name, tensor in merged.tensor_of.items()},
        outputs=tuple(names.get(name, name) for name in merged.outputs),
        answers=tuple((node, names.get(name, name)) for node, name in merged.answers),
    )


def _blocks(network: Network, operations: tuple[Operation, ...]) -> dict[str, str]:
    """Last operation of each block -> its name; of several layers that match, the last ends the block."""
    last: dict[str, str] = {}
    for operation in operations:
        block = network.block_of(operation.name)
        if block is not None:
            last[block] = operation.name
    return {layer: block for block, layer in last.items()}
