"""The networks: list them, show where one can be cut and what would be sent there, add one's own.

Examples:
    dvfo workloads                                  list
    dvfo workloads show vgg19                       its cuts
    dvfo workloads show vgg19 --all                 also the places that the card leaves out
    dvfo workloads show vgg19 --plot vgg19.png      bytes, FLOPs and traffic along its depth, as a picture
    dvfo workloads add model.onnx --name mine       a card from an ONNX model
    dvfo workloads add package.module:build --input-shape 1,3,224,224
                                                    a card from a torch module; build() gives it

add with module:function imports that module and calls the function: it runs the code in it, with your rights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

from dvfo_cli.output import print_json, print_note, print_table, terminal_width

#: Columns from which on a terminal shows what follows from the other columns too.
FULL_WIDTH = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo workloads`."""
    parser.add_argument(
        "action", nargs="?", choices=("list", "show", "add"), default="list", help="default: list"
    )
    parser.add_argument(
        "name", nargs="?", help="for show: a name or a .yaml card; for add: an .onnx file or module:function"
    )
    parser.add_argument("--all", action="store_true", help="for show: every place between two operations")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plot", metavar="FILE", help="for show: draw to this file (.png, .svg, .pdf)")
    parser.add_argument("--device", help="for --plot: also its time, at the highest clocks, per mapping")
    adding = parser.add_argument_group("for add")
    adding.add_argument(
        "--name", dest="card_name", help="of the card; default: the file's or function's name"
    )
    adding.add_argument("--title", help="what a reader calls it; default: the name")
    adding.add_argument(
        "--input-shape",
        metavar="1,3,224,224",
        help="with the batch dimension 1; where the model leaves it open",
    )
    adding.add_argument(
        "--max-cuts", type=int, default=24, metavar="N", help="most cuts, both ends included; default: 24"
    )
    adding.add_argument(
        "--folder",
        help="where the card goes; default: $XDG_DATA_HOME/dvfo/workloads, where names are looked up",
    )
    adding.add_argument("--overwrite", action="store_true", help="replace a card of that name")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """List the workloads, show one or add one."""
    if arguments.action == "show":
        if arguments.name is None:
            arguments.parser.error("show needs the name of a workload; dvfo workloads lists them")
        if arguments.plot:
            return _plot(arguments.name, arguments.plot, arguments.device)
        return _show(arguments.name, arguments.all, arguments.json)
    if arguments.action == "add":
        if arguments.name is None:
            arguments.parser.error("add needs an .onnx file or module:function")
        return _add(arguments)
    if arguments.name is not None:
        arguments.parser.error(f"list takes no name; did you mean: dvfo workloads show {arguments.name}")
    return _list(arguments.json)


def _list(as_json: bool) -> int:
    from dvfo_env.workloads import list_workloads, load_workload

    rows: list[dict[str, Any]] = []
    for name in list_workloads():
        card = load_workload(name)
        rows.append(
            {
                "name": card.name,
                "title": card.title,
                "input_shape": list(card.input_shape),
                "gflop": float(sum(segment.flops for segment in card.segments)) / 1e9,
                "parameters": card.parameters,
                "cuts": len(card.cuts),
                "source": card.source,
            }
        )
    if as_json:
        print_json(rows)
        return 0
    print_table(
        ("name", "title", "input", "GFLOP", "parameters", "cuts"),
        [
            (
                row["name"],
                row["title"],
                _shape(row["input_shape"]),
                row["gflop"],
                row["parameters"],
                row["cuts"],
            )
            for row in rows
        ],
    )
    return 0


def _shape(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _show(name: str, every_cut: bool, as_json: bool) -> int:
    from dvfo_env.workloads import cuts_table, load_workload

    card = load_workload(name)
    rows = cuts_table(card, every_cut)
    if as_json:
        print_json(rows)
        return 0
    print_note(f"{card.title} ({card.name}): {card.source}")
    print_note(f"input {_shape(card.input_shape)}, {card.parameters:,} parameters, {len(rows)} cuts")
    columns: dict[str, Callable[[dict[str, Any]], object]] = {
        "cut": lambda row: row["index"],
        "name": lambda row: row["name"],
        "sent": lambda row: row["shape"] or "(nothing)",
        "int8 kB": lambda row: row["int8_kb"],
        "fp32 kB": lambda row: row["fp32_kb"],
        "GFLOP\nbefore": lambda row: round(row["gflop_before"], 3),
        "GFLOP\nafter": lambda row: round(row["gflop_after"], 3),
        "FLOPs": lambda row: f"{row['depth']:.1%}",
        "traffic": lambda row: f"{row['traffic_share']:.1%}",
    }
    if (terminal_width() or FULL_WIDTH) < FULL_WIDTH:
        for derived in ("fp32 kB", "GFLOP\nafter"):
            del columns[derived]
    print_table(tuple(columns), [[read(row) for read in columns.values()] for row in rows])
    print_note("sent: shapes of the tensors that cross; FLOPs, traffic: share of the network before the cut")
    return 0


def _plot(name: str, file: str, device: str | None) -> int:
    from dvfo_env.workloads import load_workload
    from dvfo_env.workloads.plot import plot_workload

    card = load_workload(name)
    times: dict[str, list[float]] = {}
    if device is not None:
        from dvfo_env.devices.library import load_device
        from dvfo_env.devices.model import DeviceModel

        model = DeviceModel(load_device(device), card)
        highest = (model.cpu_mhz[-1:], model.gpu_mhz[-1:], model.mem_mhz[-1:])
        for mapping in model.mappings[:4]:
            latency = model.head_latency_ms(mapping, *highest)
            times[f"{mapping} of {device}"] = [float(value) for value in latency[:, 0, 0, 0]]
    print_note(f"wrote {plot_workload(card, file, times)}")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from dvfo_env.workloads.library import own_folders
    from dvfo_env.workloads.own import add_card, card_of_module, card_of_onnx, check_name, load_module

    source: str = arguments.name
    shape = _parsed_shape(arguments.parser, arguments.input_shape)
    is_module = ":" in source and not source.endswith(".onnx")
    name = arguments.card_name or (source.rpartition(":")[2] if is_module else Path(source).stem)
    check_name(name, arguments.folder, arguments.overwrite)
    if is_module:
        model, example = load_module(source, shape)
        card = card_of_module(model, example, name, arguments.title, source, arguments.max_cuts)
    else:
        card = card_of_onnx(source, name, shape, arguments.title, arguments.max_cuts)
    path = add_card(card, arguments.folder, arguments.overwrite)
    if arguments.json:
        print_json({"name": card.name, "path": str(path), "cuts": len(card.cuts)})
        return 0
    found = path.parent.resolve() in {folder.resolve() for folder in own_folders()}
    print_note(f"wrote {path}: {len(card.cuts)} cuts, {card.flops.sum() / 1e9:.3g} GFLOP")
    print_note(f"show it: dvfo workloads show {card.name if found else path}")
    return 0


def _parsed_shape(parser: argparse.ArgumentParser, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(size) for size in text.replace("x", ",").split(","))
    except ValueError:
        parser.error(f"--input-shape: {text!r} is not a list of whole numbers such as 1,3,224,224")
