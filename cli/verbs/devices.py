"""Device profiles: list them, show every coefficient of one with its evidence, or compare all.

Examples:
    dvfo devices                       list
    dvfo devices show jetson-tx2       every coefficient: value, evidence, error, source
    dvfo devices compare               each network on each device, as it comes out of the box
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from dvfo_cli.output import print_json, print_note, print_table, terminal_width

if TYPE_CHECKING:
    from dvfo_env.devices import DeviceProfile

#: Columns from which on a terminal shows the wide tables.
FULL_WIDTH = 110

EVIDENCE = ("measured", "fitted", "assumed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo devices`."""
    parser.add_argument(
        "action", nargs="?", choices=("list", "show", "compare"), default="list", help="default: list"
    )
    parser.add_argument("name", nargs="?", help="for show: a shipped name or a .yaml profile")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """List, show or compare devices."""
    if arguments.action == "show":
        if arguments.name is None:
            arguments.parser.error("show needs the name of a device; dvfo devices lists them")
        return _show(arguments.name, arguments.json)
    if arguments.name is not None:
        arguments.parser.error(f"only show takes a name; did you mean: dvfo devices show {arguments.name}")
    return _list(arguments.json) if arguments.action == "list" else _compare(arguments.json)


def _list(as_json: bool) -> int:
    from dvfo_env.devices import list_devices, load_device

    rows = [_summary(load_device(name)) for name in list_devices()]
    if as_json:
        print_json(rows)
        return 0
    full = (terminal_width() or FULL_WIDTH) >= FULL_WIDTH
    print_table(
        ("name", *(["title"] if full else []), "clocks\n(cpu x gpu x mem)", "mappings", *EVIDENCE),
        [
            (
                row["name"],
                *([row["title"]] if full else []),
                " x ".join(str(len(row[axis]) or "-") for axis in ("cpu_mhz", "gpu_mhz", "mem_mhz")),
                ", ".join(row["mappings"]),
                *(row["coefficients"][kind] for kind in EVIDENCE),
            )
            for row in rows
        ],
    )
    print_note("measured, fitted, assumed: number of coefficients; dvfo devices show NAME prints each")
    return 0


def _summary(profile: DeviceProfile) -> dict[str, Any]:
    from dvfo_env.devices import describe

    evidence = [row["evidence"] for row in describe(profile)]
    domains = {"cpu_mhz": profile.cpu, "gpu_mhz": profile.gpu, "mem_mhz": profile.memory}
    return {
        "name": profile.name,
        "title": profile.title,
        **{axis: list(domain.mhz) if domain else [] for axis, domain in domains.items()},
        "mappings": list(profile.mappings),
        "out_of_the_box": profile.out_of_the_box,
        "workloads": sorted(profile.latency),
        "coefficients": {kind: evidence.count(kind) for kind in EVIDENCE},
    }


def _show(name: str, as_json: bool) -> int:
    from dvfo_env.devices import describe, load_device, opening_lines

    profile = load_device(name)
    rows = describe(profile)
    groups = {kind: [row["name"] for row in rows if row["evidence"] == kind] for kind in EVIDENCE}
    if as_json:
        print_json({**_summary(profile), "by_evidence": groups, "rows": rows})
        return 0
    for kind, names in groups.items():
        print_note(f"{kind}: {', '.join(_families(names)) if names else 'nothing'}")
    print_note()
    for line in opening_lines(profile)[:2]:
        print_note(line)
    sources = list(dict.fromkeys(row["source"] for row in rows))
    print_table(
        ("coefficient", "value", "unit", "evidence", "error\n%", "held\nout %", "source"),
        _rows(rows, sources) if terminal_width() is None else _tree(_rows(rows, sources)),
    )
    print_note("error: mean absolute error of its fit; held out: on measurements the fit has not seen")
    for number, source in enumerate(sources, start=1):
        print_note(f"[{number}] {source}")
    return 0


def _rows(rows: list[dict[str, Any]], sources: list[str]) -> list[tuple[object, ...]]:
    return [
        (
            row["name"],
            row["value"],
            row["unit"],
            row["evidence"],
            row["error_percent"],
            row["holdout_error_percent"],
            f"[{sources.index(row['source']) + 1}]",
        )
        for row in rows
    ]


def _tree(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """The same rows under a line for each stem of their dotted names: `a.b.x` becomes `x` under `a.b`."""
    tree: list[tuple[object, ...]] = []
    above = ""
    for name, *rest in rows:
        stem, _, leaf = str(name).rpartition(".")
        if stem != above:
            tree.append((stem, *("" if isinstance(value, str) else None for value in rest)))
            above = stem
        tree.append((f"  {leaf}", *rest))
    return tree


def _families(names: list[str]) -> list[str]:
    """Dotted names with their last part folded: `a.x, a.y` becomes `a.{x, y}`."""
    families: dict[str, list[str]] = {}
    for name in names:
        stem, _, leaf = name.rpartition(".")
        families.setdefault(stem, []).append(leaf)
    folded = ((f"{stem}." if stem else "", leaves) for stem, leaves in families.items())
    return [stem + (leaves[0] if len(leaves) == 1 else f"{{{', '.join(leaves)}}}") for stem, leaves in folded]


def _compare(as_json: bool) -> int:
    """Every network on every device that knows it, as it comes out of the box: all local, top clocks."""
    from dvfo_env.devices import list_devices, load_device, predict

    rows = []
    for profile in map(load_device, list_devices()):
        cpu, gpu, memory = (d.mhz[-1] if d else None for d in (profile.cpu, profile.gpu, profile.memory))
        for workload, laws in sorted(profile.latency.items()):
            mapping = profile.out_of_the_box if profile.out_of_the_box in laws else next(iter(laws))
            result = predict(profile, workload, mapping, cpu, gpu, memory)
            rows.append(
                {
                    "workload": workload,
                    "device": profile.name,
                    "mapping": mapping,
                    "latency_ms": result["latency_ms"],
                    "power_mw": result["power_mw"]["total"],
                    "energy_mj": result["energy_mj"]["total"],
                }
            )
    rows.sort(key=lambda row: (row["workload"], row["latency_ms"]))
    if as_json:
        print_json(rows)
        return 0
    print_table(tuple(rows[0]) if rows else ("workload",), [tuple(row.values()) for row in rows])
    print_note("everything local, highest clocks, the mapping used out of the box; board power and energy")
    return 0
