"""Measure accuracy, agreement with the uncompressed network, bytes and times: every cut, every setting.

Examples:
    dvfo accuracy measure --model demo-vgg --data fashion-mnist
    dvfo accuracy measure --model mobilenet-v2 --data photographs --cuts features.7,features.10
    dvfo accuracy measure --model net:build@weights.safetensors --data my-images --bottleneck

--data: fashion-mnist, photographs, or a folder (ImageFolder layout, CIFAR's binary files, four IDX files).
--model: mobilenet-v2, efficientnet-lite0, demo-vgg, demo-resnet, demo-mobilenet, or module:function with
@weights.safetensors behind it; its workload card must exist (dvfo workloads add).
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvfo_cli.output import print_json, print_note
from dvfo_evaluation.progress_line import ProgressLine

if TYPE_CHECKING:
    from dvfo_env.accuracy.measuring.session import Options, Outcome, Progress
    from dvfo_env.accuracy.measuring.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo accuracy measure`."""
    parser.add_argument("--model", required=True, help="a network with weights")
    parser.add_argument("--data", required=True, help="labelled images")
    parser.add_argument("--cuts", metavar="A,B", help="default: those that send less than the input")
    parser.add_argument(
        "--rankings",
        metavar="A,B",
        help="of magnitude, variance, taylor, attention, and attention-dynamic, which chooses channels anew "
        "for every input; default: all",
    )
    parser.add_argument("--keep", metavar="A,B", help="shares of channels kept; default: 1,1/2,1/4,1/8,1/16")
    parser.add_argument("--bits", metavar="A,B", help="default: 32,16,8,6,4,3,2")
    parser.add_argument(
        "--dropped-bits", metavar="A,B", help="of those, where channels are dropped; default: 8,4,2"
    )
    parser.add_argument("--coders", metavar="A,B", help="default: none,zlib,zstd,rans")
    parser.add_argument(
        "--bottleneck", action="store_true", help="also train bottlenecks of 1, 1/2 and 1/4 of the channels"
    )
    parser.add_argument("--images", type=int, metavar="N", help="at most so many test images; default: all")
    parser.add_argument(
        "--bytes-images", type=int, metavar="N", help="images encoded for bytes; default: 500"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes; default: one for every core")
    parser.add_argument("--name", help="of the table; default: its workload's")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: where dvfo accuracy list looks")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run measured")
    parser.add_argument("--retime", action="store_true", help="time encoding and decoding again")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure and write the table."""
    from dvfo_env.accuracy.measuring import session

    options = _options(arguments)
    with ProgressLine("opening the network and the images", _progress_line) as show:
        try:
            outcome = session.run(options, show)
        except KeyboardInterrupt:
            show.clear()
            print("what was measured is kept; the same command goes on from there", file=sys.stderr)
            raise
    if arguments.json:
        print_json(_as_data(outcome))
        return 0
    table = outcome.table
    print_note(f"{table.title}: {len(table.rows.cut)} settings at {len(set(table.rows.cut))} cuts")
    print_note(table.note)
    if outcome.resumed:
        print_note(f"{outcome.resumed} cuts had been begun by an earlier run")
    print_note(
        f"{outcome.path} written after {outcome.seconds:.0f} s; every image's outcome in {outcome.record}"
    )
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    from dvfo_env.accuracy.measuring.session import Options, default_workers
    from dvfo_env.errors import ConfigError

    if arguments.workers is not None and arguments.workers < 1:
        raise ConfigError(f"--workers: {arguments.workers} is below 1")
    return Options(
        model=arguments.model,
        data=arguments.data,
        settings=_settings(arguments),
        workers=arguments.workers or default_workers(),
        name=arguments.name,
        out=arguments.out,
        fresh=arguments.fresh,
        retime=arguments.retime,
    )


def _settings(arguments: argparse.Namespace) -> Settings:
    from dvfo_env.accuracy.measuring.settings import Settings

    given: dict[str, Any] = {}
    for option in ("cuts", "rankings", "coders"):
        if getattr(arguments, option):
            given[option] = tuple(getattr(arguments, option).split(","))
    if arguments.keep:
        given["keeps"] = tuple(_number("--keep", text) for text in arguments.keep.split(","))
    for option in ("bits", "dropped_bits"):
        if getattr(arguments, option):
            texts = getattr(arguments, option).split(",")
            given[option] = tuple(int(_number(f"--{option.replace('_', '-')}", text)) for text in texts)
    if arguments.images is not None:
        given["images"] = arguments.images
    if arguments.bytes_images is not None:
        given["bytes_images"] = arguments.bytes_images
    if arguments.bottleneck:
        given["bottlenecks"] = (1.0, 1 / 2, 1 / 4)
    return Settings(**given)


def _number(option: str, text: str) -> float:
    from dvfo_env.errors import ConfigError

    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"{option}: {text!r} is no number") from None


def _progress_line(progress: Progress) -> str:
    left = "time left not known yet"
    if progress.left_s is not None:
        minutes, seconds = divmod(round(progress.left_s), 60)
        left = f"about {minutes}:{seconds:02d} left"
    return f"{progress.stage}: {progress.share:.0%}, {progress.cuts_done} of {progress.cuts} cuts, {left}"


def _as_data(outcome: Outcome) -> dict[str, Any]:
    return {
        "table": str(outcome.path),
        "images": str(outcome.record),
        "seconds": outcome.seconds,
        "resumed_cuts": outcome.resumed,
        **outcome.table.model_dump(mode="json", exclude={"rows"}, exclude_none=True),
        "rows": [row._asdict() for row in outcome.table.all_rows()],
    }
