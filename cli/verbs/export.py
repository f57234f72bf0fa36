"""Export a trained agent or a baseline to what a device runs: a policy bundle (ONNX and JSON), or C source.

Examples:
    dvfo export runs/default-hindsight-0 --out bundle
    dvfo export planner --scenario default --out planner-bundle
    dvfo export runs/default-hindsight-0 --format c --out src      policy.c and policy.h
    dvfo-controller selfcheck bundle
"""

from __future__ import annotations

import argparse

from dvfo_cli.output import print_json, print_note, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo export`."""
    parser.add_argument("source", help="a run folder, or the name of a baseline")
    parser.add_argument(
        "--scenario", help="shipped name or .yaml file; default: the one a run was trained on"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder to write; a bundle there is replaced"
    )
    parser.add_argument(
        "--format", choices=("bundle", "c"), default="bundle", help="c: C99 source of a trained agent"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Export and say what was written."""
    from dvfo_export.sources import export_source

    exported, tables = export_source(arguments.source, arguments.scenario)
    if arguments.format == "c":
        from dvfo_export.c_source import write_c

        written = write_c(arguments.out, exported, tables)
        result = {"policy": exported.label, "scenario": tables.scenario.name, "files": written}
    else:
        from dvfo_export.bundles import write_bundle

        bundle = write_bundle(arguments.out, tables, exported)
        sizes = {name: len(data) for name, data in bundle.files.items()}
        result = {
            "policy": exported.label,
            "scenario": tables.scenario.name,
            "kind": exported.kind,
            "digest": bundle.digest,
            "files": {f"{bundle.path / name}": size for name, size in sizes.items()},
        }
    if arguments.json:
        print_json(result)
        return 0
    print_note(f"{result['policy']} for {result['scenario']}: {arguments.out}")
    print_table(("file", "bytes"), list(result["files"].items()))
    if "digest" in result:
        print_note(f"digest {result['digest']}")
    return 0
