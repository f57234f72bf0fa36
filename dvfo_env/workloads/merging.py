"""From the nodes of a traced model to the operations of a `Graph`: what one kernel does is one operation.

A tracer (`from_torch`, `from_onnx`) lists a model's nodes, each with a role; here they are merged as
inference runtimes do: batch norm, bias and activation into the layer before, a decomposed layer norm or
activation into one operation, attention (product, softmax, product) likewise, and nodes that only look at
memory differently (reshape, transpose, a slice beside other slices, padding) into whoever reads them. An
operation has exactly one output that others read; where merging would give two, it stops before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from dvfo_env.workloads.graph import Operation, Shape

Role = Literal["operation", "reduction", "elementwise", "slice", "view"]
"""How a node takes part in merging.

`operation` always starts a kernel; `reduction` joins one that began with a reduction of the same data;
`elementwise` joins the kernel that makes its inputs; `slice` does so where only that part is used and is a
view otherwise; `view` moves no data.
"""


@dataclass(frozen=True)
class Node:
    """One node of a traced model.

    Attributes:
        name: unique name of the node and of the tensor it makes.
        layer: what a reader calls it, such as `layer1.0.conv1`.
        kind: `conv`, `linear`, `matmul`, `softmax`, `batch_norm`, `add`, ...
        role: see `Role`.
        inputs: names of the tensors it reads; weights and other constants are not among them.
        shape: of its tensor, without the batch dimension.
        flops: two per multiply-accumulate.
        parameters: trained parameters it reads.
        weight_elements: numbers of weights it reads from memory.
        running_statistics: means and variances of a batch norm.
        bias: whether `parameters` contain a bias, into which a batch norm folds.
    """

    name: str
    layer: str
    kind: str
    role: Role
    inputs: tuple[str, ...]
    shape: Shape
    flops: int = 0
    parameters: int = 0
    weight_elements: int = 0
    running_statistics: int = 0
    bias: bool = False


@dataclass
class _Group:
    """Nodes that become one operation, in order; the first is its leader."""

    members: list[Node]
    external: set[str] = field(default_factory=set)

    @property
    def leader(self) -> Node:
        return self.members[0]


@dataclass(frozen=True)
class Merged:
    """The operations of a model, what each is made of, and which tensor each output comes from.

    Attributes:
        operations: in the order of definition, a topological order.
        members: name of an operation -> names of its nodes, in order.
        tensor_of: name of an operation -> name of the node whose tensor it gives.
        outputs: names of the operations that give the model's outputs, each once.
        answers: for each of the model's outputs, the node that gives it and the operation behind it.
    """

    operations: tuple[Operation, ...]
    members: dict[str, tuple[str, ...]]
    tensor_of: dict[str, str]
    outputs: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]

    def with_input(self, old: str, new: str) -> Merged:
        """The same with the model's input under another name; an operation of that name gets a `_2`."""
        names = {old: new}
        taken = {operation.name for operation in self.operations}
        if new in taken:
            names[new] = _unused(new, taken | {new})
        return self.renamed(names)

    def renamed(self, names: Mapping[str, str]) -> Merged:
        """The same with other names for operations or the input; those not in `names` keep theirs."""
        return Merged(
            operations=tuple(
                replace(
                    operation,
                    name=names.get(operation.name, operation.name),
                    inputs=tuple(names.get(read, read) for read in operation.inputs),
                )
                for operation in self.operations
            ),
            members={names.get(name, name): members for name, members in self.members.items()},
            tensor_of={names.get(name, name): tensor for name, tensor in self.tensor_of.items()},
            outputs=tuple(names.get(name, name) for name in self.outputs),
            answers=tuple((node, names.get(name, name)) for node, name in self.answers),
        )


def merge(nodes: Sequence[Node], inputs: dict[str, Shape], outputs: Sequence[str]) -> Merged:
    """Merge nodes into operations.

    Args:
        nodes: in topological order; each reads earlier nodes or inputs.
        inputs: name and shape of the model's inputs.
        outputs: names of the nodes or inputs that are the model's outputs.
    """
    nodes = _reachable(nodes, outputs)
    by_name = {node.name: node for node in nodes}
    roots = _roots(nodes, inputs)
    leaders: set[str] = set()
    while True:
        groups = _group(nodes, roots, leaders)
        split = _leaders_of_second_exits(groups, roots, nodes, outputs)
        if not split:
            break
        leaders |= split
    return _operations(groups, roots, by_name, inputs, nodes, outputs)


def _reachable(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(node.inputs)
    return kept[::-1]


def _roots(nodes: Sequence[Node], inputs: dict[str, Shape]) -> dict[str, str]:
    """Every tensor -> the tensor whose memory it looks at; itself where it is no view."""
    readers: dict[str, int] = {}
    for node in nodes:
        for name in set(node.inputs):
            readers[name] = readers.get(name, 0) + 1
    by_name = {node.name: node for node in nodes}
    roots = {name: name for name in inputs}
    for node in nodes:
        alone = node.role == "slice" and _alone(node, by_name, readers)
        viewing = node.role == "view" or (node.role == "slice" and not alone)
        roots[node.name] = roots[node.inputs[0]] if viewing and len(node.inputs) == 1 else node.name
    return roots


def _alone(node: Node, by_name: dict[str, Node], readers: dict[str, int]) -> bool:
    """Whether nothing but this slice reads its source, seen through views."""
    source = node.inputs[0]
    while True:
        if readers[source] > 1:
            return False
        if source not in by_name or by_name[source].role != "view":
            return source in by_name
        source = by_name[source].inputs[0]


def _group(nodes: Sequence[Node], roots: dict[str, str], leaders: set[str]) -> list[_Group]:
    groups: list[_Group] = []
    group_of: dict[str, int] = {}
    reads: dict[str, int] = {}
    for node in nodes:
        if roots[node.name] == node.name:
            for root in {roots[name] for name in node.inputs}:
                reads[root] = reads.get(root, 0) + 1
    for node in nodes:
        if roots[node.name] != node.name:
            continue
        wanted = [roots[name] for name in node.inputs]
        index = max((group_of.get(root, -1) for root in wanted), default=-1)
        if index >= 0 and node.name not in leaders and _joins(node, wanted, groups[index], reads):
            group = groups[index]
        else:
            index = len(groups)
            group = _Group([])
            groups.append(group)
        inside = {member.name for member in group.members}
        group.members.append(node)
        group.external |= {root for root in wanted if root not in inside}
        group_of[node.name] = index
    # A product that joined late may read what was made after its group began.
    position = {node.name: number for number, node in enumerate(nodes)}
    return sorted(groups, key=lambda group: position[group.members[-1].name])


def _joins(node: Node, wanted: list[str], group: _Group, reads: dict[str, int]) -> bool:
    inside = {member.name for member in group.members}
    if node.kind == "matmul":  # softmax(q k) v: the product after the softmax, which nothing else reads
        last = group.members[-1]
        return last.kind == "softmax" and wanted[:1] == [last.name] and reads[last.name] == 1
    if node.role == "operation":
        return False
    memory_bound = group.leader.role in ("reduction", "elementwise")
    if node.role == "reduction" and group.leader.role != "reduction":
        return False
    known = inside | group.external if memory_bound else inside
    return all(root in known for root in wanted)


def _leaders_of_second_exits(
    groups: list[_Group], roots: dict[str, str], nodes: Sequence[Node], outputs: Sequence[str]
) -> set[str]:
    """First node to take out of each group that has more than one tensor others read."""
    readers: dict[str, set[str]] = {}
    for node in nodes:
        if roots[node.name] == node.name:
            for name in node.inputs:
                readers.setdefault(roots[name], set()).add(node.name)
    answers = {roots[name] for name in outputs}
    taken_out = set()
    for group in groups:
        names = [member.name for member in group.members]
        for length in range(len(names), 0, -1):
            prefix = set(names[:length])
            exits = [name for name in prefix if name in answers or readers.get(name, set()) - prefix]
            if len(exits) <= 1:
                break
        if length < len(names):
            taken_out.add(names[length])
    return taken_out


def _operations(
    groups: list[_Group],
    roots: dict[str, str],
    by_name: dict[str, Node],
    inputs: dict[str, Shape],
    nodes: Sequence[Node],
    outputs: Sequence[str],
) -> Merged:
    answers = {roots[name] for name in outputs}
    group_of = {member.name: index for index, group in enumerate(groups) for member in group.members}
    read_outside = {
        roots[name]
        for node in nodes
        if roots[node.name] == node.name
        for name in node.inputs
        if group_of.get(roots[name]) != group_of[node.name]
    }
    operations: list[Operation] = []
    members: dict[str, tuple[str, ...]] = {}
    tensor_of: dict[str, str] = {}
    operation_of: dict[str, str] = {name: name for name in inputs}
    used = set(inputs)
    for group in groups:
        name = _unused(group.leader.layer, used)
        used.add(name)
        inside = [member.name for member in group.members]
        given = next((n for n in inside if n in read_outside or n in answers), inside[-1])
        external = _read_from_outside(group, roots, by_name, inputs)
        elements = sum(
            min(_elements(root, by_name, inputs), sum(reads.values())) for root, reads in external.items()
        )
        operations.append(
            Operation(
                name=name,
                kind=_kind(group),
                inputs=tuple(operation_of[root] for root in external),
                shape=by_name[given].shape,
                flops=sum(member.flops for member in group.members),
                parameters=sum(member.parameters for member in group.members),
                weight_elements=_weight_elements(group),
                running_statistics=sum(member.running_statistics for member in group.members),
                input_elements=elements,
            )
        )
        members[name] = tuple(inside)
        tensor_of[name] = given
        for member_name in inside:
            operation_of[member_name] = name
    return Merged(
        tuple(operations),
        members,
        tensor_of,
        tuple(dict.fromkeys(operation_of[roots[name]] for name in outputs)),
        tuple((name, operation_of[roots[name]]) for name in outputs),
    )


def _read_from_outside(
    group: _Group, roots: dict[str, str], by_name: dict[str, Node], inputs: dict[str, Shape]
) -> dict[str, dict[str, int]]:
    """Tensors of other groups that this one reads -> what it reads of each -> its elements."""
    inside = {member.name for member in group.members}
    external: dict[str, dict[str, int]] = {}
    for member in group.members:
        for read in member.inputs:
            root = roots[read]
            if root not in inside:
                external.setdefault(root, {})[read] = _elements(read, by_name, inputs)
    return external


def _elements(name: str, by_name: dict[str, Node], inputs: dict[str, Shape]) -> int:
    return prod(by_name[name].shape if name in by_name else inputs[name])


def _unused(name: str, used: set[str]) -> str:
    number = 2
    candidate = name
    while candidate in used:
        candidate = f"{name}_{number}"
        number += 1
    return candidate


def _kind(group: _Group) -> str:
    kinds = [member.kind for member in group.members]
    if kinds[0] == "matmul" and "softmax" in kinds and kinds[-1] == "matmul":
        return "attention"
    if group.leader.role == "reduction" and kinds.count(kinds[0]) > 1:
        return "norm"
    return kinds[0]


def _weight_elements(group: _Group) -> int:
    """Weights read; a batch norm after a convolution or linear layer folds into weights and one bias."""
    total = 0
    folds = group.leader.kind in ("conv", "linear")
    bias = group.leader.bias
    for member in group.members:
        if member.kind == "batch_norm" and folds:
            total += 0 if bias else member.weight_elements // 2
            bias = True
        else:
            total += member.weight_elements
    return total
