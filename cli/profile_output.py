"""Where `dvfo calibrate` writes a profile of one's own, and how it prints the report of the fit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dvfo_cli.output import print_json, print_note, print_table

Rows = list[dict[str, Any]]
HEADINGS = {
    "t0_ms": "t0\nms",
    "cpu_ms_ghz": "CPU\nms*GHz",
    "gpu_ms_ghz": "GPU\nms*GHz",
    "mem_ms_ghz": "memory\nms*GHz",
    "idle_mw": "idle\nmW",
    "sum_ms": "sum\nms",
    "difference_ms": "difference\nms",
    "base_ms": "base\nms",
    "ms_per_mb": "ms\nper MB",
    "error_percent": "error\n%",
    "holdout_error_percent": "held out\n%",
    "holdout_worst_percent": "held out,\nworst %",
    "worst_percent": "worst\n%",
    "worst_at": "at (MHz)",
}
"""How the columns of reports are headed on a terminal."""


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare where a profile of one's own is written."""
    parser.add_argument("--out", metavar="DIR", help="write the profile there; default: write nothing")
    parser.add_argument(
        "--install",
        action="store_true",
        help="write it to the user data folder, where scenarios find it by name",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a profile that exists")
    parser.add_argument("--json", action="store_true", help="print JSON")


def write_profile(arguments: argparse.Namespace, profile: Any) -> list[str]:
    """Write a profile to --out and the user data folder, as asked; returns the paths.

    Raises:
        ConfigError: a file is already there and --overwrite is off, or cannot be written.
    """
    from dvfo_env.devices.library import user_devices_folder
    from dvfo_env.errors import ConfigError
    from dvfo_env.record_yaml import write_record

    folders = [Path(arguments.out)] if arguments.out else []
    folders += [user_devices_folder()] if arguments.install else []
    files = [folder / f"{profile.name}.yaml" for folder in folders]
    for file in files:
        if file.exists() and not arguments.overwrite:
            raise ConfigError(f"{file}: already there; --overwrite replaces it")
    return [str(write_record(profile, file)) for file in files]


def show(arguments: argparse.Namespace, report: Rows, written: list[str], more: dict[str, Any]) -> None:
    """Print the report, one table per set of columns, and the files written."""
    if arguments.json:
        print_json({"report": report, "written": written, **more})
        return
    for keys in dict.fromkeys(tuple(row) for row in report):
        _print_rows([row for row in report if tuple(row) == keys])
    if "against" in more:
        _print_rows(more["against"], "points kept out of the fit")
    for file in written:
        print_note(f"wrote {file}")


def _print_rows(rows: Rows, title: str = "") -> None:
    """One table of rows with the same columns; what is text in words stands below it."""
    words = [key for key in rows[0] if key in ("note", "fitted")]
    same = len(rows[0]) > 8 and len({row.get("quantity") for row in rows}) == 1 and "workload" in rows[0]
    hidden = {*words, *(("quantity", "clocks") if same else ())}
    keys = [key for key in rows[0] if key not in hidden and any(row[key] not in (None, "") for row in rows)]
    headings = [HEADINGS.get(key, key.removesuffix("_percent").replace("_", "\n")) for key in keys]
    print_table(headings, [[row[key] for key in keys] for row in rows], title=title)
    for row in rows:
        told = "; ".join(str(row[key]) for key in words if row[key])
        if told:
            of = " on ".join(str(row[key]) for key in ("workload", "mapping") if row.get(key))
            print_note(f"{of or row['quantity']}: {told}")
