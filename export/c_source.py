"""A trained policy as C99: policy.c and policy.h without dependencies, for devices without Python.

No memory is allocated, nothing is printed, and the C library is needed only where hidden layers are tanh.
Weights are constants and sums are double as everywhere (see `dvfo_agents.decisions`), so decisions equal
those of the training side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvfo_agents.decisions import Decision, LargestOfBranches, LargestOfEach, LargestOfList, Layer, Squashed
from dvfo_agents.learned import LearnedPolicy
from dvfo_controller.bundle import Feature
from dvfo_env.errors import ConfigError
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.spaces import ActionView
from dvfo_env.tables import ACTION_PARTS, CPU, CUT, GPU, LEVEL, MAPPING, MEM, CostTables
from dvfo_env.whole_file import write_whole
from dvfo_export import c_text
from dvfo_export.actions import cells, columns, pinned
from dvfo_export.bundles import Exported
from dvfo_export.manifest import observation_layout

_LANES = 8  # layers are padded to a multiple: compilers then need no remainder loop
_NAMES = {CUT: "cut", MAPPING: "mapping", CPU: "cpu", GPU: "gpu", MEM: "mem", LEVEL: "level"}


def write_c(out: Path | str, exported: Exported, tables: CostTables) -> dict[str, int]:
    """Write policy.c and policy.h into the folder `out`; path -> bytes.

    Raises:
        ConfigError: the policy is not a trained network, or the folder cannot be written.
    """
    written = {}
    for name, text in c_source(exported, tables).items():
        path = write_whole(Path(out) / name, text)
        written[str(path)] = path.stat().st_size
    return written


def c_source(exported: Exported, tables: CostTables) -> dict[str, str]:
    """The text of policy.c and policy.h.

    Raises:
        ConfigError: the policy is not a trained network.
    """
    policy = exported.policy
    if not isinstance(policy, LearnedPolicy) or not isinstance(
        policy.decide, LargestOfEach | LargestOfBranches | LargestOfList | Squashed
    ):
        raise ConfigError(f"{exported.label}: only trained agents are exported as C; leave out --format c")
    about = f"{exported.label} for {tables.scenario.name}"
    body = _Body(policy.decide, policy.view)
    source = c_text.SOURCE.format(
        about=about,
        include="#include <math.h>\n\n" if body.tanh else "",
        choices=_choices(tables),
        constants="\n".join(body.constants),
        layers="\n".join(body.layers),
        helpers="".join(body.helpers),
        variables="\n".join(f"    {line}" for line in body.variables),
        body="\n".join(f"    {line}" for line in body.lines),
    )
    return {"policy.h": _header(about, policy, tables, body.tanh), "policy.c": source}


class _Body:
    """The constants of one policy and the lines of `dvfo_policy_decide` that are its own."""

    def __init__(self, decide: Decision, view: ActionView) -> None:
        self.constants: list[str] = []
        self.layers: list[str] = []
        self.helpers: list[str] = []
        self.variables: list[str] = []
        self.lines: list[str] = []
        self.tanh = False
        self._view = view
        match decide:
            case LargestOfEach():
                self._largest_of_each(decide)
            case LargestOfBranches():
                self._largest_of_branches(decide)
            case LargestOfList():
                self._largest_of_list(decide)
            case Squashed():
                self._cell_of_each(decide)
        for part, index in enumerate(pinned(view)):
            if index is not None and not isinstance(decide, LargestOfList):
                self.lines.append(f"action[{part}] = {index};")
        if self.tanh:
            self.helpers.insert(0, c_text.SQUASH)

    def _linear(self, values: str, layer: Layer, activation: str) -> str:
        """Name of the outputs of a layer whose inputs have been through `activation`, or "" where they were
        not.
        """
        name = f"layer{len(self.layers)}"
        inputs, outputs = layer.weight.shape
        padded = -(-outputs // _LANES) * _LANES
        if activation == "tanh":
            self.tanh = True
            self.lines.append(f"squash({values}, {inputs});")
        self.constants.append(
            c_text.constant("float", f"{name}_weight", np.pad(layer.weight, ((0, 0), (0, padded - outputs))))
        )
        self.constants.append(
            c_text.constant("float", f"{name}_bias", np.pad(layer.bias, (0, padded - outputs)))
        )
        self.layers.append(f"LINEAR({name}, {inputs}, {padded})")
        self.variables.append(f"double {name}_sums[{padded}];")
        self.lines.append(f"{name}({values}, {int(activation == 'relu')}, {name}_sums);")
        return f"{name}_sums"

    def _chain(self, layers: tuple[Layer, ...], activation: str) -> str:
        values, before = "inputs", ""
        for layer in layers:
            values, before = self._linear(values, layer, before), activation
        return values

    def _largest_of_each(self, decide: LargestOfEach) -> None:
        self.helpers.append(c_text.LARGEST)
        scores = self._chain(decide.network.layers, decide.network.activation)
        begin = 0
        for part, size in zip(columns(self._view), decide.sizes, strict=True):
            self.lines.append(f"action[{part}] = largest({scores} + {begin}, {size});")
            begin += size

    def _largest_of_branches(self, decide: LargestOfBranches) -> None:
        self.helpers.append(c_text.LARGEST)
        trunk = self._chain(decide.trunk, decide.activation)
        if decide.activation == "tanh":
            self.tanh = True
            self.lines.append(f"squash({trunk}, {decide.trunk[-1].bias.size});")
        after = "relu" if decide.activation == "relu" else ""
        for part, (hidden, last) in zip(columns(self._view), decide.branches, strict=True):
            scores = self._linear(self._linear(trunk, hidden, after), last, decide.activation)
            self.lines.append(f"action[{part}] = largest({scores}, {last.bias.size});")

    def _largest_of_list(self, decide: LargestOfList) -> None:
        self.helpers.append(c_text.LARGEST)
        joint = self._view.to_indices(decide.actions)
        self.constants.append(c_text.constant("int", "listed", joint))
        scores = self._chain(decide.network.layers, decide.network.activation)
        self.variables.append("const int *chosen;")
        self.lines.append(f"chosen = listed[largest({scores}, {len(joint)})];")
        self.lines += ["for (i = 0; i < DVFO_PARTS; i++)", "    action[i] = chosen[i];"]

    def _cell_of_each(self, decide: Squashed) -> None:
        self.helpers.append(c_text.CELL)
        points = self._chain(decide.network.layers, decide.network.activation)
        axes = zip(columns(self._view), cells(self._view), strict=True)
        for i, (part, (begins, order)) in enumerate(axes):
            if len(begins) == 0:
                self.lines.append(f"action[{part}] = {order[0]};")
                continue
            self.constants.append(c_text.constant("double", f"begins{part}", begins))
            self.constants.append(c_text.constant("int", f"order{part}", order))
            chosen = f"cell({points}[{i}], begins{part}, {len(begins)})"
            self.lines.append(f"action[{part}] = order{part}[{chosen}];")


def _choices(tables: CostTables) -> str:
    """The values behind the indices, as constants that the header declares."""
    choices = tables.choices
    clocks = [
        c_text.constant("double", f"dvfo_{part}", np.array(choices[part], dtype=np.float64), static=False)
        for part in ("cpu_mhz", "gpu_mhz", "mem_mhz")
    ]
    return "\n".join(
        [
            c_text.strings("dvfo_cut_names", [str(name) for name in choices["cut"]]),
            c_text.strings("dvfo_mapping_names", [str(name) for name in choices["mapping"]]),
            *clocks,
            c_text.strings("dvfo_codec_names", tables.encoders),
        ]
    )


def _header(about: str, policy: LearnedPolicy, tables: CostTables, tanh: bool) -> str:
    sizes = [f"DVFO_{name.upper()}_CHOICES" for name in _NAMES.values()]
    declarations = [
        f"extern const char *const dvfo_cut_names[{sizes[CUT]}];",
        f"extern const char *const dvfo_mapping_names[{sizes[MAPPING]}];",
        *(f"extern const double dvfo_{ACTION_PARTS[part]}[{sizes[part]}];" for part in (CPU, GPU, MEM)),
        f"extern const char *const dvfo_codec_names[{sizes[CUT]}][{sizes[LEVEL]}];",
    ]
    counts = zip(sizes, tables.sizes, strict=True)
    return c_text.HEADER.format(
        about=about,
        libm="; needs tanh of the C library" if tanh else ", no library needed",
        features="".join(
            f" *     {_law(i, feature)}\n" for i, feature in enumerate(observation_layout(tables))
        ),
        features_count=OBSERVATION_SIZE,
        history=policy.history,
        parts_count=len(ACTION_PARTS),
        parts=", ".join(f"DVFO_{name.upper()}" for name in _NAMES.values()),
        sizes=",\n       ".join(f"{name} = {size}" for name, size in counts),
        declarations="\n".join(declarations),
    )


def _law(number: int, feature: Feature) -> str:
    """One feature in a line of the header's comment."""
    value = f"{feature.name} [{feature.unit}]"
    per = {
        "linear": f"x = ({value} - {feature.zero:g}) / {feature.span:g}, low {feature.low:g}",
        "log2": f"x = (log2 of {value} - {feature.zero:g}) / {feature.span:g}, low {feature.low:g}",
        "age": f"t / (t + {feature.span:g}), t = {value}; 1: never",
        "share": f"x = {value} / {feature.span:g}, low 0",
        "index": f"{value} / {feature.span:g}" + ("; -1: none" if feature.low < 0.0 else ""),
    }
    return f"{number:2}  {per[feature.law]}"
