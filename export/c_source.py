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
_SLACK = 1.001  # of the margins, for the double that the float is compared with and the subtraction
_UNDERFLOW = 1e-30  # far above what numbers too small for a float add up to
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
    sure = _Pass(policy.decide, policy.view, fast=False)
    passes = [c_text.SURE + (c_text.SQUASH if sure.tanh else "") + sure.text]
    call = "    decide_sure(policy->seen, action);"
    if not sure.tanh:
        passes.insert(0, c_text.FAST + _Pass(policy.decide, policy.view, fast=True).text)
        call = (
            "    if (policy->usual < DVFO_HISTORY || decide_fast(policy->seen, action) != 0)\n"
            "        decide_sure(policy->seen, action);"
        )
    source = c_text.SOURCE.format(
        about=about,
        include="#include <math.h>\n\n" if sure.tanh else "",
        choices=_choices(tables),
        constants="\n".join(sure.constants),
        passes="".join(passes),
        call=call,
    )
    return {"policy.h": _header(about, policy, tables, sure.tanh), "policy.c": source}


class _Pass:
    """One way to compute a decision: in float with margins for rounding (`fast`), or in double.

    Attributes:
        text: C functions, `decide_fast` or `decide_sure` last.
        constants: weights and tables; the same in both.
        tanh: whether hidden layers are tanh, which is computed in double only.
    """

    def __init__(self, decide: Decision, view: ActionView, fast: bool) -> None:
        self.constants: list[str] = []
        self.tanh = False
        self._view = view
        self._fast = fast
        self._suffix, self._real = ("fast", "float") if fast else ("sure", "double")
        self._functions = [f"KEEP(keep_{self._suffix}, {self._real})"]
        self._variables: list[str] = []
        self._lines: list[str] = []
        self._layers = 0
        match decide:
            case LargestOfEach():
                self._largest_of_each(decide)
            case LargestOfBranches():
                self._largest_of_branches(decide)
            case LargestOfList():
                self._largest_of_list(decide)
            case Squashed():
                self._cell_of_each(decide)
        if not isinstance(decide, LargestOfList):
            fixed = enumerate(pinned(view))
            self._lines += [f"action[{part}] = {index};" for part, index in fixed if index is not None]

    @property
    def text(self) -> str:
        decide = c_text.DECIDE.format(
            suffix=self._suffix,
            real=self._real,
            variables="\n".join(f"    {line}" for line in self._variables),
            body="\n".join(f"    {line}" for line in self._lines),
        )
        return "\n".join(self._functions) + "\n" + decide

    def _linear(self, values: str, layer: Layer, activation: str) -> str:
        """Name of the outputs of a layer whose inputs have yet to go through `activation`; "": none."""
        name = f"layer{self._layers}"
        self._layers += 1
        inputs, outputs = layer.weight.shape
        padded = -(-outputs // _LANES) * _LANES
        if activation == "tanh":
            self._squash(values, inputs)
        weight, bias = (
            np.pad(layer.weight, ((0, 0), (0, padded - outputs))),
            np.pad(layer.bias, (0, padded - outputs)),
        )
        self.constants.append(c_text.constant("float", f"{name}_weight", weight))
        self.constants.append(c_text.constant("float", f"{name}_bias", bias))
        own, keep = f"{name}_{self._suffix}", f"keep_{self._suffix}"
        self._functions.append(f"LINEAR({name}, {own}, {keep}, {self._real}, {inputs}, {padded})")
        self._variables.append(f"{self._real} sums{name[5:]}[{padded}];")
        self._lines.append(f"{own}({values}, {int(activation == 'relu')}, sums{name[5:]});")
        return f"sums{name[5:]}"

    def _squash(self, values: str, count: int) -> None:
        self.tanh = True
        self._lines.append(f"squash({values}, {count});")

    def _chain(self, layers: tuple[Layer, ...], activation: str) -> str:
        values, before = "inputs", ""
        for layer in layers:
            values, before = self._linear(values, layer, before), activation
        return values

    def _margin(self, layers: tuple[Layer, ...], times: float) -> str:
        return f"{times * worst_float_error(layers):.3e}f" if self._fast else "0"

    def _choose(self, place: str, chosen: str) -> None:
        self._lines += [f"if (({place} = {chosen}) < 0)", "    return -1;"]

    def _largest_of_each(self, decide: LargestOfEach) -> None:
        self._functions.append(f"LARGEST(largest_{self._suffix}, {self._real})")
        layers = decide.network.layers
        scores, margin = self._chain(layers, decide.network.activation), self._margin(layers, 2.0)
        begin = 0
        for part, size in zip(columns(self._view), decide.sizes, strict=True):
            self._choose(f"action[{part}]", f"largest_{self._suffix}({scores} + {begin}, {size}, {margin})")
            begin += size

    def _largest_of_branches(self, decide: LargestOfBranches) -> None:
        self._functions.append(f"LARGEST(largest_{self._suffix}, {self._real})")
        trunk = self._chain(decide.trunk, decide.activation)
        if decide.activation == "tanh":
            self._squash(trunk, decide.trunk[-1].bias.size)
        after = "relu" if decide.activation == "relu" else ""
        for part, (hidden, last) in zip(columns(self._view), decide.branches, strict=True):
            scores = self._linear(self._linear(trunk, hidden, after), last, decide.activation)
            margin = self._margin((*decide.trunk, hidden, last), 2.0)
            self._choose(f"action[{part}]", f"largest_{self._suffix}({scores}, {last.bias.size}, {margin})")

    def _largest_of_list(self, decide: LargestOfList) -> None:
        self._functions.append(f"LARGEST(largest_{self._suffix}, {self._real})")
        joint, layers = self._view.to_indices(decide.actions), decide.network.layers
        self.constants.append(c_text.constant("int", "listed", joint))
        scores, margin = self._chain(layers, decide.network.activation), self._margin(layers, 2.0)
        self._variables.append("int best;")
        self._choose("best", f"largest_{self._suffix}({scores}, {len(joint)}, {margin})")
        self._lines += ["for (i = 0; i < DVFO_PARTS; i++)", "    action[i] = listed[best][i];"]

    def _cell_of_each(self, decide: Squashed) -> None:
        self._functions.append(f"CELL(cell_{self._suffix}, {self._real})")
        layers = decide.network.layers
        points, margin = self._chain(layers, decide.network.activation), self._margin(layers, 1.0)
        self._variables.append("int found;")
        axes = zip(columns(self._view), cells(self._view), strict=True)
        for i, (part, (begins, order)) in enumerate(axes):
            if len(begins) == 0:
                self._lines.append(f"action[{part}] = {order[0]};")
                continue
            self.constants.append(c_text.constant("double", f"begins{part}", begins))
            self.constants.append(c_text.constant("int", f"order{part}", order))
            self._choose(
                "found", f"cell_{self._suffix}({points}[{i}], begins{part}, {len(begins)}, {margin})"
            )
            self._lines.append(f"action[{part}] = order{part}[found];")


def worst_float_error(layers: tuple[Layer, ...]) -> float:
    """How far an output of ReLU layers can be off when computed in float32 as policy.c does, for any inputs
    in [-1, 1].

    A sum of n products goes through k = 3 + n / 4 roundings at most (four products are added up, then added
    to the rest), so it is off by k u / (1 - k u) of the sum of all magnitudes, u = 2^-24 (Higham, Accuracy
    and Stability of Numerical Algorithms, 2nd edition, section 4.2); errors of the inputs come through the
    weights.
    """
    largest, error = np.ones(layers[0].weight.shape[0]), np.zeros(layers[0].weight.shape[0])
    for weight, bias in layers:
        size = np.abs(weight.astype(np.float64))
        roundings = (4 + -(-len(size) // 4)) * 2.0**-24
        through = error @ size
        largest = np.abs(bias.astype(np.float64)) + largest @ size
        error = through + roundings / (1.0 - roundings) * (largest + through) + _UNDERFLOW
    return float(error.max()) * _SLACK


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
