"""Device profiles: list them, show every coefficient of one with its evidence, or compare all.

Examples:
    dvfo devices                       list: shipped, and your own
    dvfo devices show jetson-tx2       what is measured, fitted, assumed; then every coefficient
    dvfo devices compare               each network on each device, as it comes out of the box
    dvfo devices compare resnet50 --plot fronts.png     one network: side by side, latency against energy
    dvfo devices page                  docs/devices.md: every card, every held-out error
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
        "action", nargs="?", choices=("list", "show", "compare", "page"), default="list", help="default: list"
    )
    parser.add_argument(
        "name", nargs="?", help="for show: a device of the list or a .yaml profile; for compare: a network"
    )
    parser.add_argument(
        "--devices",
        metavar="A,B",
        help="for compare with a network: only these names or .yaml profiles; default: all of the list",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="for compare with a network: draw latency-energy fronts (.png, .svg, .pdf)",
    )
    parser.add_argument("--out", metavar="FILE", help="for page: write it there; default: print it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """List, show or compare devices."""
    if arguments.action == "show":
        if arguments.name is None:
            arguments.parser.error("show needs the name of a device; dvfo devices lists them")
        return _show(arguments.name, arguments.json)
    if arguments.action == "compare" and arguments.name is not None:
        return _side_by_side(arguments)
    if arguments.plot or arguments.devices:
        arguments.parser.error("--plot and --devices need a network: dvfo devices compare NETWORK")
    if arguments.name is not None:
        arguments.parser.error(f"takes no name; did you mean: dvfo devices show {arguments.name}")
    if arguments.action == "page":
        return _page(arguments.out)
    return _list(arguments.json) if arguments.action == "list" else _compare(arguments.json)


def _list(as_json: bool) -> int:
    from dvfo_env.devices.library import user_devices_folder

    profiles, own, unreadable = _known()
    rows = [{**_summary(profile), "own": profile.name in own} for profile in profiles]
    if as_json:
        print_json(rows)
        return 0
    full = (terminal_width() or FULL_WIDTH) >= FULL_WIDTH
    print_table(
        ("name", *(["title"] if full else []), "clocks\n(cpu x gpu x mem)", "mappings", *EVIDENCE),
        [
            (
                row["name"] + (" *" if row["own"] else ""),
                *([row["title"]] if full else []),
                " x ".join(str(len(row[axis]) or "-") for axis in ("cpu_mhz", "gpu_mhz", "mem_mhz")),
                ", ".join(row["mappings"]) if full else len(row["mappings"]),
                *(row["coefficients"][kind] for kind in EVIDENCE),
            )
            for row in rows
        ],
    )
    print_note("measured, fitted, assumed: number of coefficients; dvfo devices show NAME prints each")
    if any(row["own"] for row in rows):
        print_note(f"* your own, in {user_devices_folder()}")
    for line in unreadable:
        print_note(f"left out: {line}")
    return 0


def _known() -> tuple[list[DeviceProfile], set[str], list[str]]:
    """Every shipped profile and the user's own; names of the latter; why some of them cannot be read."""
    from dvfo_env.devices import list_devices, load_device
    from dvfo_env.devices.library import list_user_devices
    from dvfo_env.errors import ConfigError

    profiles = [load_device(name) for name in list_devices()]
    own, unreadable = [], []
    for name in list_user_devices():
        try:
            # by the name that finds it, whatever the file says inside
            profiles.append(load_device(name).model_copy(update={"name": name}))
            own.append(name)
        except ConfigError as error:
            unreadable.append(str(error))
    return profiles, set(own), unreadable


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
    from dvfo_env.devices.card import opening

    profile = load_device(name)
    rows = describe(profile)
    groups = {kind: [row["name"] for row in rows if row["evidence"] == kind] for kind in EVIDENCE}
    if as_json:
        print_json({**_summary(profile), "opening": opening(profile), "by_evidence": groups, "rows": rows})
        return 0
    for line in opening(profile):
        print_note(line)
    print_note()
    for line in opening_lines(profile)[:2]:
        print_note(line)
    sources = list(dict.fromkeys(row["source"] for row in rows))
    width = terminal_width()
    table = _rows(rows, sources)
    headings = ["coefficient", "value", "unit", "evidence", "error\n%", "held\nout %", "source"]
    if width is not None and width < FULL_WIDTH:  # the first lines hold the errors
        headings = headings[:4] + headings[6:]
        table = [row[:4] + row[6:] for row in table]
    print_table(headings, table if width is None else _tree(table))
    if width is None or width >= FULL_WIDTH:
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


def _compare(as_json: bool) -> int:
    """Every network on every device that knows it, as it comes out of the box: all local, top clocks."""
    from dvfo_env.devices import predict
    from dvfo_env.errors import ConfigError

    rows: list[dict[str, Any]] = []
    profiles, own, unreadable = _known()
    for profile in profiles:
        cpu, gpu, memory = (d.mhz[-1] if d else None for d in (profile.cpu, profile.gpu, profile.memory))
        for workload, laws in sorted(profile.latency.items()):
            mapping = profile.out_of_the_box if profile.out_of_the_box in laws else next(iter(laws))
            try:
                result = predict(profile, workload, mapping, cpu, gpu, memory)
            except ConfigError as error:  # the card of one's own network may have gone
                if profile.name not in own:
                    raise
                unreadable.append(f"{profile.name}: {error}")
                continue
            rows.append(
                {
                    "workload": workload,
                    "device": profile.name,
                    "mapping": mapping,
                    "latency_ms": result["latency_ms"],
                    "power_mw": result["power_mw"] and result["power_mw"]["total"],
                    "energy_mj": result["energy_mj"] and result["energy_mj"]["total"],
                }
            )
    rows.sort(key=lambda row: (row["workload"], row["latency_ms"]))
    if as_json:
        print_json(rows)
        return 0
    print_table(tuple(rows[0]) if rows else ("workload",), [tuple(row.values()) for row in rows])
    print_note("everything local, highest clocks, the mapping used out of the box; board power and energy")
    for line in unreadable:
        print_note(f"left out: {line}")
    return 0


def _side_by_side(arguments: argparse.Namespace) -> int:
    """One network on every device: out of the box, the fastest and the thriftiest setting."""
    from dvfo_env.devices import load_device
    from dvfo_env.devices.compare import compare, plot_fronts

    if arguments.devices:
        profiles = [load_device(name.strip()) for name in arguments.devices.split(",")]
    else:
        profiles, _, _ = _known()
    rows, fronts = compare(profiles, arguments.name)
    picture = plot_fronts(fronts, arguments.name, arguments.plot) if arguments.plot else None
    if arguments.json:
        print_json(rows)
        return 0
    headings = {
        "device": "device",
        "mapping": "mapping",
        "latency_ms": "latency\nms",
        "power_mw": "power\nmW",
        "energy_mj": "energy\nmJ",
        "fastest_ms": "fastest\nms",
        "least_mj": "least\nmJ",
        "least_mj_ms": "there\nms",
        "latency": "latency is",
        "power": "power is",
    }
    if (terminal_width() or FULL_WIDTH) < FULL_WIDTH:
        for narrow in ("power_mw", "fastest_ms", "least_mj_ms", "latency"):
            del headings[narrow]
    print_table(tuple(headings.values()), [tuple(row[key] for key in headings) for row in rows])
    print_note(
        f"{arguments.name}, everything local. The first figures: highest clocks and the mapping used out "
        f"of the box; "
        "fastest and least: over all mappings and clocks. Power at a wall socket holds supply and fan."
    )
    if picture:
        print_note(f"wrote {picture}")
    return 0


def _page(out: str | None) -> int:
    from dvfo_env.devices.page import devices_page
    from dvfo_env.whole_file import whole_file

    page = devices_page()
    if out is None:
        print(page, end="")
        return 0
    with whole_file(out) as file:
        file.write_text(page, encoding="utf-8", newline="\n")
    print_note(f"wrote {out}")
    return 0
