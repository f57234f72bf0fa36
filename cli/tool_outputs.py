"""`dvfo calibrate parse`: outputs of benchmark tools as a table of measured points."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dvfo_cli.output import exact, print_json, print_note, print_table

KINDS = ("benchncnn", "trtexec", "jetson-benchmarks", "tflite", "tegrastats")


def add_parse(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo calibrate parse`."""
    parser.add_argument("kind", metavar="KIND", help=f"who wrote the files: {', '.join(KINDS)}")
    parser.add_argument("files", nargs="+", metavar="FILE", help="console outputs, plain or gzipped")
    parser.add_argument("--out", metavar="CSV", help="write the rows there; default: print them")
    parser.add_argument("--overwrite", action="store_true", help="replace a table that exists")
    said = parser.add_argument_group("what the output does not say")
    said.add_argument("--mapping", help="where it ran: gpu, cpu, big, ...; default: what the output says")
    said.add_argument("--cores", type=int, help="cores in use; default: what the output says")
    for domain in ("cpu", "gpu", "mem"):
        said.add_argument(f"--{domain}-mhz", type=float, metavar="MHZ", help=f"{domain} clock of these runs")
    said.add_argument("--workload", help="name of the network; default: what the output says")
    said.add_argument(
        "--pattern",
        metavar="TEXT",
        help="file names that say it: '{workload}_{gpu_hz}_{mem_hz}.txt' (also _mhz, _khz, mapping, cores)",
    )
    said.add_argument(
        "--rename", action="append", default=[], metavar="OLD=NEW", help="network names; repeat"
    )
    said.add_argument("--only", action="append", default=[], metavar="NAME", help="keep this network; repeat")
    power = parser.add_argument_group("power by tegrastats")
    power.add_argument("--power", metavar="LOG", help="log to take each run's mean power from, by time")
    power.add_argument("--rows", metavar="CSV", help="for tegrastats: rows that get the power")
    power.add_argument("--by-clock", action="store_true", help="by each line's clocks, GPU busy, not by time")
    power.add_argument("--idle", action="store_true", help="also idle rows, from lines with nothing busy")
    power.add_argument("--rails", metavar="A,B,...", help="rails that make up the board; default: its input")
    power.add_argument("--start-s", type=float, help="time of the first line, where lines carry none")
    power.add_argument("--interval-ms", type=float, default=1000.0, help="between lines; default: 1000")
    power.add_argument("--utc-offset", type=float, default=0.0, metavar="HOURS", help="of dates in the log")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=run_parse, parser=parser)


def run_parse(arguments: argparse.Namespace) -> int:
    """Turn outputs of benchmark tools into a table of measured points."""
    from dvfo_env.calibration.own.table import NEEDED, OPTIONAL, write_table
    from dvfo_env.errors import ConfigError

    if arguments.kind not in KINDS:
        raise ConfigError(f"{arguments.kind!r}: not a known tool; known: {', '.join(KINDS)}")
    if arguments.out and Path(arguments.out).exists() and not arguments.overwrite:
        raise ConfigError(f"{arguments.out}: already there; --overwrite replaces it")
    rows = _parsed(arguments)
    if not rows:
        raise ConfigError("--only: no row is left")
    if arguments.out:
        write_table(rows, arguments.out)
    names = (*NEEDED, *OPTIONAL)
    shown = [{name: getattr(row, name) for name in names} for row in rows]
    if arguments.json:
        print_json(shown)
    elif arguments.out:
        print_note(f"wrote {arguments.out}: {len(rows)} rows")
    else:
        columns = [name for name in names if any(row[name] not in (None, "") for row in shown)]
        print_table(columns, [[exact(row[name]) for name in columns] for row in shown])
    return 0


def _parsed(arguments: argparse.Namespace) -> list[Any]:
    from dvfo_env.calibration.own.parsers import Settings, idle_rows, parse_file, read_samples, with_power
    from dvfo_env.calibration.own.table import read_table
    from dvfo_env.errors import ConfigError

    logs = list(arguments.files) if arguments.kind == "tegrastats" else []
    if logs and not arguments.rows and not arguments.idle:
        raise ConfigError("tegrastats: --rows CSV says which rows get power; --idle makes idle rows")
    if arguments.power:
        logs.append(arguments.power)
    rows: list[Any] = read_table(arguments.rows)[0] if arguments.rows else []
    if arguments.kind != "tegrastats":
        settings = Settings(
            mapping=arguments.mapping,
            cores=arguments.cores,
            cpu_mhz=arguments.cpu_mhz,
            gpu_mhz=arguments.gpu_mhz,
            mem_mhz=arguments.mem_mhz,
            workload=arguments.workload,
            pattern=arguments.pattern,
            rename=_renames(arguments.rename),
            only=tuple(arguments.only),
        )
        rows += [row for file in arguments.files for row in parse_file(arguments.kind, file, settings)]
    samples = [
        sample
        for log in logs
        for sample in read_samples(
            log,
            rails=arguments.rails.split(",") if arguments.rails else (),
            start_s=arguments.start_s,
            interval_ms=arguments.interval_ms,
            utc_offset_hours=arguments.utc_offset,
        )
    ]
    if logs and rows:
        rows = with_power(rows, samples, arguments.by_clock)
    return rows + (idle_rows(samples, rows) if logs and arguments.idle else [])


def _renames(given: list[str]) -> dict[str, str]:
    from dvfo_env.errors import ConfigError

    pairs = [text.partition("=") for text in given]
    for text, (old, _, new) in zip(given, pairs, strict=True):
        if not old or not new:
            raise ConfigError(f"--rename {text!r}: expected OLD=NEW")
    return {old: new for old, _, new in pairs}
