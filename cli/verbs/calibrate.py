"""Fit device profiles, server profiles and uplink models to raw measurements; also of a board of your own.

A board of your own (docs/calibration.md):
    dvfo calibrate design --clocks jetson-tx2 --mapping gpu --out points.csv    what to measure first
    dvfo calibrate parse trtexec *.log --power tegra.log --out points.csv    from tools' outputs
    dvfo calibrate csv points.csv --name my-board --clocks jetson-tx2 --install   fit it; scenarios find it
    dvfo calibrate layers vgg19=layers.csv --name my-phone --copies copies.csv    from a table of layers
    dvfo calibrate uplink TRACES --name my-lte --out HERE     a model of your own traces

What is shipped, from the published measurements:
    dvfo calibrate tx2 --measurements DIR              the report: points, fit error, hold-out error
    dvfo calibrate tx2 --measurements DIR --check      also compare with the shipped profile
    dvfo calibrate tx2 --measurements DIR --out HERE   also write the profile
    dvfo calibrate uplink --measurements DIR --check   the shipped uplink models
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvfo_cli import own_board, tool_outputs
from dvfo_cli.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from dvfo_env.devices.profile import DeviceProfile
    from dvfo_env.servers.profile import ServerProfile

Rows = list[dict[str, Any]]

#: Fits behind what is shipped, as in `calibration.shipped`, which is not imported before one runs.
SHIPPED = {
    "tx2": "shipped: Jetson TX2",
    "jetson": "shipped: the other Jetsons",
    "pis": "shipped: Raspberry Pis",
    "phones": "shipped: phones",
    "servers": "shipped: servers",
    "uplink": "own traces, or the shipped uplink models",
}

#: Relative difference below which a refitted figure counts as the shipped one.
SAME = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo calibrate`."""
    whats = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, text, add in (
        ("design", "own board: which points to measure first", own_board.add_design),
        ("parse", "own board: outputs of benchmark tools as a table", tool_outputs.add_parse),
        ("csv", "own board: fit a table of measured points", own_board.add_csv),
        ("layers", "own board: tables of layers, and copies between processors", own_board.add_layers),
    ):
        add(whats.add_parser(name, help=text, description=text))
    for name, text in SHIPPED.items():
        _add_shipped(whats.add_parser(name, help=text, description=text), name)


def _add_shipped(parser: argparse.ArgumentParser, name: str) -> None:
    if name == "uplink":
        parser.add_argument(
            "traces", nargs="*", help="your own trace files or folder; without, the shipped models"
        )
        parser.add_argument("--name", default="my-uplink", help="for your own traces: name of the model")
    parser.add_argument(
        "--measurements",
        metavar="DIR",
        default=os.environ.get("DVFO_MEASUREMENTS"),
        help="folder of raw measurements, not part of the project; default: $DVFO_MEASUREMENTS",
    )
    parser.add_argument("--out", metavar="DIR", help="write the YAML files there; default: write nothing")
    parser.add_argument("--overwrite", action="store_true", help="let --out replace files that exist")
    parser.add_argument(
        "--check", action="store_true", help="compare with the shipped files; exit status 1 if they differ"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=_run_shipped, parser=parser, traces=[])


def run(arguments: argparse.Namespace) -> int:
    """Fit, report, and compare or write where asked."""
    return int(arguments.act(arguments))


def _run_shipped(arguments: argparse.Namespace) -> int:
    if arguments.traces and arguments.check:
        arguments.parser.error("--check is for the shipped models: none is that of your traces")
    if not arguments.traces and not arguments.measurements:
        arguments.parser.error("--measurements DIR is needed: raw measurements are not part of the project")
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        if arguments.traces:
            rows = _own_uplink(arguments.traces, arguments.name, fresh)
        else:
            rows = _shipped(arguments.what, _existing(arguments.measurements), fresh)
        differences = _differences(fresh, arguments.what) if arguments.check else None
        written = _place(fresh, Path(arguments.out), arguments.overwrite) if arguments.out else []
    if arguments.json:
        print_json({"report": rows, "differences": differences, "written": written})
    else:
        _print(rows, differences, written)
    return 1 if differences else 0


def _existing(folder: str) -> Path:
    from dvfo_env.errors import MeasurementError

    if not Path(folder).is_dir():
        raise MeasurementError(f"{folder}: no such folder of measurements")
    return Path(folder)


def _shipped(what: str, measurements: Path, fresh: Path) -> Rows:
    if what == "uplink":
        return _shipped_uplinks(measurements, fresh)
    from dvfo_env.calibration.shipped import DEVICE_FITS, SERVER_FITS
    from dvfo_env.record_yaml import write_record

    profiles: Sequence[DeviceProfile | ServerProfile]
    if what in SERVER_FITS:
        profiles, rows = SERVER_FITS[what](measurements)
    else:
        profiles, rows = DEVICE_FITS[what](measurements)
    for profile in profiles:
        write_record(profile, fresh / f"{profile.name}.yaml")
    return rows


def _shipped_uplinks(measurements: Path, fresh: Path) -> Rows:
    from dvfo_env.calibration.uplink.fit import calibrate_shipped, fit_report_rows

    models = calibrate_shipped(measurements, fresh)
    return [{"model": name, **row} for name, model in models.items() for row in fit_report_rows(model)]


def _own_uplink(traces: list[str], name: str, fresh: Path) -> Rows:
    from dvfo_env.calibration.uplink.fit import calibrate_uplink, write_model

    model, rows = calibrate_uplink(traces[0] if len(traces) == 1 else traces, name)
    write_model(model, fresh / f"{name}.yaml")
    return rows


def _shipped_folder(what: str) -> Path:
    import dvfo_env

    inside = {"uplink": "uplinks/models", "servers": "servers/profiles"}.get(what, "devices/profiles")
    return Path(dvfo_env.__path__[0]) / inside


def _differences(fresh: Path, what: str) -> list[str]:
    """Where the fresh files differ from the shipped ones, one line each; empty when they agree."""
    from dvfo_env.schema import read_yaml

    found: list[str] = []
    for file in sorted(fresh.iterdir()):
        shipped = _shipped_folder(what) / file.name
        if shipped.is_file():
            found += _compare(read_yaml(shipped), read_yaml(file), file.stem)
        else:
            found.append(f"{file.stem}: is not shipped")
    return found


def _compare(shipped: Any, fresh: Any, where: str) -> list[str]:
    if isinstance(shipped, dict) and isinstance(fresh, dict):
        keys = list(dict.fromkeys((*shipped, *fresh)))
        return [line for key in keys for line in _compare(shipped.get(key), fresh.get(key), f"{where}.{key}")]
    if isinstance(shipped, list) and isinstance(fresh, list) and len(shipped) == len(fresh):
        pairs = enumerate(zip(shipped, fresh, strict=True))
        return [line for i, (old, new) in pairs for line in _compare(old, new, f"{where}[{i}]")]
    if isinstance(shipped, int | float) and isinstance(fresh, int | float):
        if abs(shipped - fresh) <= SAME * max(abs(shipped), abs(fresh)):
            return []
    elif shipped == fresh:
        return []
    elif isinstance(shipped, str) and isinstance(fresh, str):
        letters = enumerate(zip(shipped, fresh, strict=False))
        first = next((i for i, (old, new) in letters if old != new), min(len(shipped), len(fresh)))
        part = slice(max(0, first - 20), first + 30)
        return [f"{where}: shipped ...{shipped[part]!r}, refitted ...{fresh[part]!r}"]
    return [f"{where}: shipped {shipped!r:.60}, refitted {fresh!r:.60}"]


def _place(fresh: Path, out: Path, overwrite: bool) -> list[str]:
    """Write the fresh files into `out`, each wholly or not at all.

    Raises:
        ConfigError: a file is already there and `overwrite` is off, or the folder cannot be written.
    """
    from dvfo_env.errors import ConfigError
    from dvfo_env.whole_file import whole_file

    files = sorted(fresh.iterdir())
    taken = [str(out / file.name) for file in files if (out / file.name).exists()]
    if taken and not overwrite:
        raise ConfigError(f"{', '.join(taken)}: already there; --overwrite replaces it")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from None
    for file in files:
        with whole_file(out / file.name) as beside:
            beside.write_bytes(file.read_bytes())
    return [str(out / file.name) for file in files]


def _print(rows: Rows, differences: list[str] | None, written: list[str]) -> None:
    for keys, group in itertools.groupby(rows, key=tuple):
        table = list(group)
        columns = [key for key in keys if any(row[key] not in (None, "") for row in table)]
        print_table(columns, [[row[key] for key in columns] for row in table])
    if differences is not None:
        for line in differences:
            print_note(line)
        print_note(f"{len(differences)} differences" if differences else "agrees with the shipped files")
    for file in written:
        print_note(f"wrote {file}")
