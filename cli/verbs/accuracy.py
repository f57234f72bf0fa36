"""Accuracy under compression: measure it for a network of one's own, look at what was measured.

Examples:
    dvfo accuracy list                                    tables there are
    dvfo accuracy show mobilenet-v2                       best settings at every cut
    dvfo accuracy show mobilenet-v2 --all                 every setting
    dvfo accuracy show mobilenet-v2 --plot rates.png      bytes against accuracy, all codecs and JPEG
    dvfo accuracy measure --model mobilenet-v2 --data photographs
    dvfo accuracy measure --model net:build@weights.safetensors --data my-images --cuts conv3,conv4
    dvfo accuracy train-demo                              networks to measure without any download
    dvfo accuracy derived                                 how far tables derived from other networks are off

measure writes what it measured to disk as it goes: killed, the same command goes on from there. --model
module:function runs the code of that module, with your rights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dvfo_cli import accuracy_demo, accuracy_measure
from dvfo_cli.output import print_json, print_note, print_table, terminal_width

if TYPE_CHECKING:
    from dvfo_env.accuracy.table import AccuracyTable, Row

#: Columns from which on a terminal shows all of them.
FULL_WIDTH = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `dvfo accuracy`."""
    actions = parser.add_subparsers(
        dest="action", metavar="list | show | measure | train-demo | derived", required=True
    )
    listing = actions.add_parser("list", help="tables there are, shipped and your own")
    listing.add_argument("--json", action="store_true", help="print JSON")
    showing = actions.add_parser("show", help="one table, as text or as a picture")
    showing.add_argument("table", help="a name that list gives, or a .json file")
    showing.add_argument("--cut", help="only this cut")
    showing.add_argument("--all", action="store_true", help="every setting, not only those worth choosing")
    showing.add_argument("--plot", metavar="FILE", help="draw to this file (.png, .svg, .pdf)")
    showing.add_argument("--json", action="store_true", help="print JSON")
    derived = actions.add_parser("derived", help="how far tables derived from other networks are off")
    derived.add_argument("--json", action="store_true", help="print JSON")
    for name, verb, line in (
        ("measure", accuracy_measure, "accuracy, bytes and times of every setting at every cut"),
        ("train-demo", accuracy_demo, "train the demo networks on Fashion-MNIST"),
    ):
        action = actions.add_parser(
            name, help=line, description=verb.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        verb.add_arguments(action)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    if arguments.action == "measure":
        return accuracy_measure.run(arguments)
    if arguments.action == "train-demo":
        return accuracy_demo.run(arguments)
    if arguments.action == "list":
        return _list(arguments.json)
    if arguments.action == "derived":
        return _derived(arguments.json)
    return _show(arguments)


def _derived(as_json: bool) -> int:
    from dvfo_env.accuracy.assumed import leave_one_out

    found = leave_one_out()
    if as_json:
        print_json([left._asdict() for left in found])
        return 0
    print_table(
        ("network", "settings", "points", "bytes %"),
        [
            (left.network, left.settings, f"{left.lost_points_error:.1f}", f"{left.bytes_error_percent:.0f}")
            for left in found
        ],
    )
    print_note("each network predicted from the other measured ones, settings that keep 75 % of its answers:")
    print_note("mean absolute error of the share of answers that change, in points, and of the bytes")
    return 0


def _list(as_json: bool) -> int:
    from dvfo_env.accuracy import list_accuracy_tables, list_user_accuracy_tables, load_accuracy_table

    rows: list[dict[str, Any]] = []
    for name in (*list_accuracy_tables(), *list_user_accuracy_tables()):
        table = load_accuracy_table(name)
        rows.append(
            {
                "name": name,
                "workload": table.workload,
                "evidence": table.evidence,
                "data": table.data.name if table.data else None,
                "images": table.data.images if table.data else None,
                "accuracy": table.baseline.accuracy if table.baseline else None,
                "charges": table.charges,
                "cuts": len(set(table.rows.cut)),
                "settings": len(table.rows.cut),
                "shipped": name in list_accuracy_tables(),
            }
        )
    if as_json:
        print_json(rows)
        return 0
    if not rows:
        print_note("no table yet; dvfo accuracy measure makes one")
        return 0
    print_table(
        ("name", "workload", "evidence", "data", "images", "accuracy %", "charges", "cuts", "settings"),
        [
            (
                row["name"],
                row["workload"],
                row["evidence"],
                row["data"],
                row["images"],
                None if row["accuracy"] is None else round(100 * row["accuracy"], 2),
                row["charges"],
                row["cuts"],
                row["settings"],
            )
            for row in rows
        ],
    )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from dvfo_env.accuracy import load_accuracy_table
    from dvfo_env.errors import ConfigError

    table = load_accuracy_table(arguments.table)
    if arguments.plot:
        from dvfo_env.accuracy.measuring.plot import plot_table

        print_note(f"{plot_table(table, arguments.plot)} written")
        return 0
    rows = table.all_rows()
    if arguments.cut is not None:
        rows = tuple(row for row in rows if row.cut == arguments.cut)
        if not rows:
            cuts = ", ".join(dict.fromkeys(table.rows.cut))
            raise ConfigError(f"--cut: {table.name} has no cut {arguments.cut!r}; it has {cuts}")
    if not arguments.all:
        from dvfo_env.accuracy.pareto import worth_choosing

        rows = worth_choosing(rows, table.charges)
    if arguments.json:
        provenance = table.model_dump(mode="json", exclude={"rows"}, exclude_none=True)
        print_json({**provenance, "rows": [row._asdict() for row in rows]})
        return 0
    _print(table, rows, arguments.all)
    return 0


def _print(table: AccuracyTable, rows: tuple[Row, ...], everything: bool) -> None:
    print_note(f"{table.title} ({table.name}, {table.evidence})")
    if table.data and table.baseline:
        base = table.baseline
        print_note(
            f"uncompressed: {base.accuracy:.2%} right ({base.accuracy_low:.2%} to {base.accuracy_high:.2%}), "
            f"{table.data.images:,} images of {table.data.clusters:,} pictures"
        )
    columns: dict[str, Callable[[Row], object]] = {
        "cut": lambda row: row.cut,
        "setting": lambda row: row.codec,
        "ranking": lambda row: row.ranking,
        "bytes": lambda row: round(row.bytes_mean),
        "p95": lambda row: round(row.bytes_p95),
        "encode\nms": lambda row: float(f"{row.encode_ms:.3g}"),
        "decode\nms": lambda row: float(f"{row.decode_ms:.3g}"),
        "accuracy\n%": lambda row: round(100 * row.accuracy, 2),
        "lost\npoints": lambda row: round(row.lost_points, 2),
        "at\nleast": lambda row: round(row.lost_low, 2),
        "at\nmost": lambda row: round(row.lost_high, 2),
        "agrees\n%": lambda row: round(100 * row.agreement, 2),
    }
    if (terminal_width() or FULL_WIDTH) < FULL_WIDTH:
        for less in ("p95", "decode\nms", "accuracy\n%", "at\nleast", "at\nmost"):
            del columns[less]
    print_table(tuple(columns), [[read(row) for read in columns.values()] for row in rows])
    if not everything:
        print_note(
            f"of {len(table.rows.cut)} settings, those that no other at the same cut beats in bytes and"
        )
        print_note(f"{table.charges} at once; --all shows every one")
    print_note("lost: accuracy lost to compression on the same images, with its 95 % interval")
    if table.note:
        print_note(table.note)
