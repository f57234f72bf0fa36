"""`dvfo calibrate design`, `csv` and `layers`: which points of one's own board to measure, and their fit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dvfo_cli.output import exact, print_json, print_note, print_table
from dvfo_cli.profile_output import add_output, show, write_profile

LATENCY_ONLY = "latency only: nothing says its power; scenarios that weigh energy refuse the profile"
METERS = ("board input", "module input", "wall socket", "core rail", "whole phone")


def add_design(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo calibrate design`."""
    _add_board(parser)
    parser.add_argument(
        "--mapping",
        action="append",
        default=[],
        metavar="NAME[:CORES]",
        help="what to measure: gpu (driven by one core), cpu:4, cpu:1, big:4; repeat; default: gpu where the "
        "board has GPU clocks, and every cluster with all its cores",
    )
    parser.add_argument("--workload", default="WORKLOAD", help="network to write into the rows")
    parser.add_argument("--no-power", action="store_true", help="leave out the waiting points")
    parser.add_argument("--out", metavar="CSV", help="write the points as a table to fill in")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=run_design, parser=parser)


def add_csv(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo calibrate csv`."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="tables of measured points (docs/calibration.md)"
    )
    parser.add_argument("--name", required=True, help="of the profile: lower case, digits, dots and dashes")
    parser.add_argument("--title", default="", help="of the board, for reports")
    _add_board(parser)
    _add_choices(parser)
    parser.add_argument("--against", metavar="CSV", help="points kept out of the fit: report its error there")
    parser.add_argument("--plot", metavar="PNG", help="draw fitted against measured there")
    add_output(parser)
    parser.set_defaults(act=run_csv, parser=parser)


def add_layers(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo calibrate layers`."""
    parser.add_argument(
        "tables", nargs="+", metavar="WORKLOAD=FILE", help="time of every layer on every mapping"
    )
    parser.add_argument("--name", required=True, help="of the profile: lower case, digits, dots and dashes")
    parser.add_argument("--title", default="", help="of the board, for reports")
    parser.add_argument(
        "--columns",
        default="",
        metavar="NAME:CORES,...",
        help="mappings of a file without heading: big:1,gpu",
    )
    parser.add_argument("--copies", metavar="FILE", help="time of handing tensors between processors")
    _add_board(parser)
    _add_choices(parser)
    add_output(parser)
    parser.set_defaults(act=run_layers, parser=parser)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out-of-the-box", default="", metavar="MAPPING", help="what the board uses untouched"
    )
    parser.add_argument(
        "--inference", default="", metavar="TEXT", help="what was run: TensorRT fp16, batch 1"
    )
    parser.add_argument("--meter", choices=METERS, default=METERS[0], help="where power was read")
    parser.add_argument("--idle-mw", type=float, help="power of the waiting board, where no idle row has it")
    parser.add_argument(
        "--busy-mw",
        action="append",
        default=[],
        metavar="MAPPING=MW",
        help="board power by hand while a mapping runs at the highest clocks, for tables without power",
    )


def _add_board(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clocks",
        metavar="NAME|YAML",
        help="legal clocks and cores: a known device, or a file with cpu_mhz, gpu_mhz, mem_mhz, cores, title",
    )
    for domain in ("cpu", "gpu", "mem"):
        parser.add_argument(
            f"--{domain}-mhz", metavar="F,F,...", help=f"legal {domain} clocks, where --clocks does not say"
        )
    parser.add_argument(
        "--cores", action="append", default=[], metavar="CLUSTER=N", help="cores of a cluster; repeat"
    )


def run_design(arguments: argparse.Namespace) -> int:
    """Print, and write where asked, the points to measure first."""
    from dvfo_env.calibration.own.design import design
    from dvfo_env.calibration.own.table import write_table
    from dvfo_env.errors import ConfigError

    board, _ = _board(arguments)
    if board is None:
        arguments.parser.error("--clocks, or --cpu-mhz, --gpu-mhz and --mem-mhz, say what the board offers")
    mappings = [_mapping(text, "--mapping") for text in arguments.mapping]
    if not mappings:
        mappings = [("gpu", 1)] if board.gpu_mhz else []
        mappings += [(name, cores) for name, cores in board.cores.items()]
    points = design(board, mappings, power=not arguments.no_power)
    rows = [
        {
            "no": number,
            "mapping": point.mapping,
            "cores": point.cores,
            "cpu_mhz": point.cpu_mhz,
            "gpu_mhz": point.gpu_mhz,
            "mem_mhz": point.mem_mhz,
            "shows": point.shows,
        }
        for number, point in enumerate(points, start=1)
    ]
    if arguments.out:
        if Path(arguments.out).exists():
            raise ConfigError(f"{arguments.out}: already there")
        columns = () if arguments.no_power else ("power_mw",)
        write_table([point.row(arguments.workload) for point in points], arguments.out, columns)
    if arguments.json:
        print_json(rows)
        return 0
    shown = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    print_table(shown, [[exact(row[name]) for name in shown] for row in rows])
    if arguments.out:
        print_note(f"wrote {arguments.out}; fill in latency_ms and power_mw")
    return 0


def run_csv(arguments: argparse.Namespace) -> int:
    """Fit tables of measured points and write the profile where asked."""
    from dvfo_env.calibration.own.profile import calibrate_rows
    from dvfo_env.calibration.own.table import read_table

    tables = [read_table(file) for file in arguments.files]
    choices = _choices(arguments)
    rows = [row for table, _ in tables for row in table]
    made = calibrate_rows(rows, [origin for _, origin in tables], choices)
    held = []
    if arguments.against:
        from dvfo_env.calibration.own.against import compare_rows

        held = compare_rows(made.profile, read_table(arguments.against)[0])
    written = write_profile(arguments, made.profile)
    if arguments.plot:
        from dvfo_env.calibration.own.residual_plot import plot_residuals

        plot_residuals(made.residuals, arguments.plot, f"{made.profile.title}: fitted against measured")
        written.append(arguments.plot)
    more = {"residuals": made.residuals} | ({"against": held} if held else {})
    show(arguments, made.report, written, more)
    if not arguments.json and made.profile.power is None:
        print_note(LATENCY_ONLY)
    return 0


def run_layers(arguments: argparse.Namespace) -> int:
    """Make a profile of tables of layers and write it where asked."""
    from dvfo_env.calibration.own.layer_tables import CopyTimes, calibrate_layers, read_copies, read_layers
    from dvfo_env.errors import ConfigError

    columns = [_mapping(text, "--columns") for text in arguments.columns.split(",") if text]
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice:
        raise ConfigError(f"--columns: {twice[0]} with {twice[1]} cores is there twice")
    tables = {}
    for text in arguments.tables:
        workload, sign, file = text.partition("=")
        if not sign or not file:
            raise ConfigError(f"{text!r}: expected WORKLOAD=FILE")
        tables[workload] = read_layers(file, columns)
    copies = read_copies(arguments.copies) if arguments.copies else CopyTimes()
    profile, report = calibrate_layers(tables, _choices(arguments), copies)
    show(arguments, report, write_profile(arguments, profile), {})
    if not arguments.json and profile.power is None:
        print_note(LATENCY_ONLY)
    return 0


def _choices(arguments: argparse.Namespace) -> Any:
    from dvfo_env.calibration.own.choices import Choices

    board, source = _board(arguments)
    return Choices(
        name=arguments.name,
        title=arguments.title,
        board=board,
        board_source=source,
        out_of_the_box=arguments.out_of_the_box,
        inference=arguments.inference,
        meter=arguments.meter,
        idle_mw=arguments.idle_mw,
        busy_mw=dict(_assigned(text, "--busy-mw") for text in arguments.busy_mw),
    )


def _board(arguments: argparse.Namespace) -> tuple[Any, str]:
    """The board and where it comes from; (None, "") where nothing was said."""
    from dvfo_env.calibration.own.board import Board, load_board
    from dvfo_env.schema import parse_record

    given: dict[str, Any] = {}
    for domain in ("cpu", "gpu", "mem"):
        text = getattr(arguments, f"{domain}_mhz")
        if text:
            given[f"{domain}_mhz"] = [_figure(part, f"--{domain}-mhz") for part in text.split(",")]
    cores = {
        name: _whole(count, f"--cores {name}")
        for name, count in (_assigned(text, "--cores") for text in arguments.cores)
    }
    if not arguments.clocks and not given and not cores:
        return None, ""
    base = load_board(arguments.clocks) if arguments.clocks else Board()
    data = base.model_dump() | given
    data["cores"] = {**data["cores"], **cores}
    return parse_record(data, Board, "command line"), f"given: {arguments.clocks or 'on the command line'}"


def _mapping(text: str, option: str) -> tuple[str, int]:
    from dvfo_env.errors import ConfigError

    name, sign, cores = text.strip().partition(":")
    if not name or (sign and not cores):
        raise ConfigError(f"{option} {text!r}: expected NAME or NAME:CORES, such as cpu:4")
    return name, _whole(_figure(cores, option), option) if cores else 1


def _whole(value: float, option: str) -> int:
    from dvfo_env.errors import ConfigError

    if value != int(value) or value > 1024:
        raise ConfigError(f"{option}: {value:g}: expected a whole number from 1 to 1024")
    return int(value)


def _assigned(text: str, option: str) -> tuple[str, float]:
    from dvfo_env.errors import ConfigError

    name, sign, value = text.partition("=")
    if not name or not sign:
        raise ConfigError(f"{option} {text!r}: expected NAME=NUMBER")
    return name, _figure(value, option)


def _figure(text: str, option: str) -> float:
    from dvfo_env.errors import ConfigError

    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is not a number") from None
    if not 0.0 < value < 1e9:
        raise ConfigError(f"{option}: {text!r}: expected a number above 0")
    return value
