"""Export what a device runs: the policy of a trained agent or a baseline as a bundle (ONNX and JSON) or as C
source; or how a network is split, as a split plan.

Examples:
    dvfo export runs/default-hindsight-0 --out bundle
    dvfo export planner --scenario default --out planner-bundle
    dvfo export runs/default-hindsight-0 --format c --out src      policy.c and policy.h
    dvfo export model.onnx --workload mine --images photos --out model.split
    dvfo-controller selfcheck bundle
"""

from __future__ import annotations

import argparse
from typing import Any

from dvfo_cli.output import print_json, print_note, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo export`."""
    parser.add_argument("source", help="a run folder, the name of a baseline, or an .onnx file to split")
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
    split = parser.add_argument_group("for an .onnx file")
    split.add_argument("--workload", help="its card: a name (dvfo workloads add) or a .yaml file")
    split.add_argument(
        "--images", metavar="DIR", help="pictures to calibrate encoders on; default: smooth random ones"
    )
    split.add_argument(
        "--bits",
        default="8,6,4,3,2",
        help="that feature encoders shall be calibrated for; default: 8,6,4,3,2",
    )
    split.add_argument("--mean", help="of each channel, taken off values 0 to 255; default: 0,0,0")
    split.add_argument("--std", help="of each channel, divided by after that; default: 255,255,255")


def run(arguments: argparse.Namespace) -> int:
    """Export and say what was written."""
    result = _split_plan(arguments) if arguments.source.endswith(".onnx") else _policy(arguments)
    if arguments.json:
        print_json(result)
        return 0
    print_note(f"{result['what']}: {arguments.out}")
    print_table(("file", "bytes"), list(result["files"].items()))
    for name in ("calibrated_on", "digest"):
        if name in result:
            print_note(f"{name.replace('_', ' ')} {result[name]}")
    return 0


def _policy(arguments: argparse.Namespace) -> dict[str, Any]:
    from dvfo_export.sources import export_source

    exported, tables = export_source(arguments.source, arguments.scenario)
    result: dict[str, Any] = {
        "what": f"{exported.label} for {tables.scenario.name}",
        "policy": exported.label,
        "scenario": tables.scenario.name,
    }
    if arguments.format == "c":
        from dvfo_export.c_source import write_c

        return result | {"files": write_c(arguments.out, exported, tables)}
    from dvfo_export.bundles import write_bundle

    bundle = write_bundle(arguments.out, tables, exported)
    sizes = {str(bundle.path / name): len(data) for name, data in bundle.files.items()}
    return result | {"kind": exported.kind, "digest": bundle.digest, "files": sizes}


def _split_plan(arguments: argparse.Namespace) -> dict[str, Any]:
    from pathlib import Path

    from dvfo_controller.images import folder_images
    from dvfo_controller.split.plan import Scaling
    from dvfo_env.errors import ConfigError
    from dvfo_env.workloads import load_workload
    from dvfo_export.split_plan import make_split_plan

    model, out = Path(arguments.source), Path(arguments.out)
    if not model.is_file():
        raise ConfigError(f"{model}: is not a file")
    if arguments.workload is None:
        raise ConfigError(f"{model}: name its card with --workload; dvfo workloads add {model} makes one")
    card = load_workload(arguments.workload)
    channels, height, width = card.input_shape
    mean = _numbers("--mean", arguments.mean or ",".join(["0"] * channels), channels)
    std = _numbers("--std", arguments.std or ",".join(["255"] * channels), channels)
    if min(std) <= 0.0:
        raise ConfigError(f"--std: {arguments.std}: every number has to be above 0")
    bits = [int(value) for value in _numbers("--bits", arguments.bits)]
    images = None if arguments.images is None else folder_images(Path(arguments.images), height, width)
    plan = make_split_plan(model, card, images, out, Scaling(mean, std), bits)
    sizes = {str(path): path.stat().st_size for path in sorted(out.iterdir())}
    return {
        "what": f"{len(plan.cuts)} cuts of {card.name}",
        "workload": card.name,
        "calibrated_on": plan.calibrated_on,
        "digest": plan.digest,
        "files": sizes,
    }


def _numbers(option: str, text: str, count: int | None = None) -> tuple[float, ...]:
    from dvfo_env.errors import ConfigError

    try:
        numbers = tuple(float(part) for part in text.split(",") if part)
    except ValueError:
        raise ConfigError(f"{option}: {text!r}: expected numbers with commas between them") from None
    if count is not None and len(numbers) != count:
        raise ConfigError(f"{option}: {text!r}: expected {count} numbers, one for each channel")
    return numbers
