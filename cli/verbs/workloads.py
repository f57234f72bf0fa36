"""The networks: list them, or show where one can be cut and what would be sent there.

Examples:
    dvfo workloads                     list
    dvfo workloads show vgg19          its cuts
    dvfo workloads show vgg19 --all    also the places between operations that the card leaves out
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
    parser.add_argument("action", nargs="?", choices=("list", "show"), default="list", help="default: list")
    parser.add_argument("name", nargs="?", help="for show: a shipped name or a .yaml card")
    parser.add_argument("--all", action="store_true", help="for show: every place between two operations")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """List the workloads or show one."""
    if arguments.action == "show":
        if arguments.name is None:
            arguments.parser.error("show needs the name of a workload; dvfo workloads lists them")
        return _show(arguments.name, arguments.all, arguments.json)
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
