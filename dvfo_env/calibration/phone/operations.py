"""Which segment of a card runs an operation of an exported model's timing table.

Tables name operations as TensorFlow-slim does (`Mixed_6b/Branch_2/Conv2d_0c_1x7/Conv2D`). Inception-v4's card
uses the same names; Inception-v3's uses those of torchvision (`Mixed_6b.branch7x7dbl_3`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dvfo_env.errors import ConfigError
from dvfo_env.workloads import WorkloadCard, segment_of

_BLOCK = re.compile(r"(Mixed_\d[a-z])/(?:Branch_(\d)/)?(.+)")
_STEP = re.compile(r"Conv(?:2d)*(?:_1)?_(\d)([a-z])_(\d)x(\d)")

_A, _B, _C, _D, _E = "ABCDE"
_KIND = {
    **dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d"), _A),
    "Mixed_6a": _B,
    **dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), _C),
    "Mixed_7a": _D,
    **dict.fromkeys(("Mixed_7b", "Mixed_7c"), _E),
}
_BRANCHES: Mapping[str, tuple[str, str, str]] = {
    _A: ("branch1x1", "branch5x5", "branch3x3dbl"),
    _B: ("branch3x3", "branch3x3dbl", ""),
    _C: ("branch1x1", "branch7x7", "branch7x7dbl"),
    _D: ("branch3x3", "branch7x7x3", ""),
    _E: ("branch1x1", "branch3x3", "branch3x3dbl"),
}
"""torchvision's name of slim's branches 0, 1 and 2 in each kind of block; branch 3 pools."""

_STEM = {"MaxPool_3a_3x3": "maxpool1", "MaxPool_5a_3x3": "maxpool2", "Logits/AvgPool_1a_8x8": "avgpool"}


def segment_of_operation(card: WorkloadCard, operation: str) -> int:
    """Index of the card's segment that runs `operation`.

    Raises:
        ConfigError: the name matches no layer of the card.
    """
    if card.name == "inception-v3":
        return _segment_of_inception_v3(card, operation)
    return segment_of(card, operation)


def _segment_of_inception_v3(card: WorkloadCard, operation: str) -> int:
    layers = {layer: index for index, segment in enumerate(card.segments) for layer in segment.layers}
    for slim, ours in _STEM.items():
        if slim in operation:
            return layers[ours]
    if "Logits" in operation or "Predictions" in operation:
        return layers["fc"]
    found = _BLOCK.search(operation)
    if found is None:
        return segment_of(card, operation)
    block, branch, step = found.groups()
    if block not in _KIND:
        raise ConfigError(f"workload {card.name}: no block {block!r} for the operation {operation!r}")
    if branch is None:  # the joined branches end the block
        return max(index for layer, index in layers.items() if layer.startswith(f"{block}."))
    name = _layer(_KIND[block], block, int(branch), step)
    if name in layers:
        return layers[name]
    raise ConfigError(f"workload {card.name}: no layer {name!r} for the operation {operation!r}")


def _layer(kind: str, block: str, branch: int, step: str) -> str:
    """The card's name of one step of a branch."""
    if step.startswith("AvgPool"):
        return f"{block}.avg_pool"
    if step.startswith("MaxPool"):
        return f"{block}.max_pool"
    if step.startswith("concat"):  # the pairs of 1x3 and 3x1 of an E block, joined
        return f"{block}.branch3x3_2b" if branch == 1 else f"{block}.branch3x3dbl_3b"
    conv = _STEP.match(step)
    if conv is None:
        raise ConfigError(f"operation {block}/Branch_{branch}/{step}: expected a convolution or a pool")
    if branch == 3:
        return f"{block}.branch_pool"
    stem = _BRANCHES[kind][branch]
    if branch == 0 and kind != _D:
        return f"{block}.{stem}"
    stage, letter = int(conv.group(1)), conv.group(2)
    if kind == _E and (conv.group(3), conv.group(4)) in (("1", "3"), ("3", "1")):
        side = "a" if conv.group(3) == "1" else "b"
        return f"{block}.{stem}_{2 if branch == 1 else 3}{side}"
    number = ord(letter) - ord("a") + 1
    if stage == 1:  # the strided last convolution of a block that halves the image
        number = {(_B, 1): 3, (_D, 0): 2, (_D, 1): 4}[kind, branch]
    elif block == "Mixed_5c" and branch == 1:  # slim counts this branch from b
        number -= 1
    return f"{block}.{stem}_{number}"
