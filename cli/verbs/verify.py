"""Does the model tell the truth here? Predicts random joint actions, carries them out, compares.

Profiles this machine, times codecs, server tails and the way there, writes a scenario of it, then runs the
joint actions through the real runtime: heads by onnxruntime, real codecs, TCP through a link that replays the
uplink's bandwidth, tails on a server process. What a folder holds already is not measured again.

Examples:
    dvfo verify                                  MobileNetV2 over 5G on foot, 200 joint actions
    dvfo verify resnet50 --actions 400           another network, more of them
    dvfo verify mine --model mine.onnx           a network of your own
    dvfo verify --uplink drive.csv               another uplink: a name, or a trace file
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dvfo_cli.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from dvfo_verification.verify import Verified


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo verify`."""
    parser.add_argument("workload", nargs="?", default="mobilenet-v2", help="default: mobilenet-v2")
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help="a network of your own")
    parser.add_argument("--uplink", default="5g-mmwave-walking", help="default: 5g-mmwave-walking")
    parser.add_argument("--actions", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--profile-seconds", type=float, default=60.0, metavar="S", help="default: 60")
    parser.add_argument("--mappings", help="only these, comma-separated, as dvfo profile --plan names them")
    parser.add_argument("--server-threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--link", choices=("auto", "bucket", "namespaces"), default="auto",
        help="what shapes the uplink: network namespaces (root, iproute2) or a token bucket; default: auto",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of actions and uplink; default: 0")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: reports/verify-WORKLOAD")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, carry out, compare. Status 1 where the model is further off than it promises."""
    import json

    from dvfo_evaluation.progress_line import ProgressLine
    from dvfo_verification.verify import verify
    from dvfo_verification.world import WorldOptions

    if arguments.actions < 10 or arguments.profile_seconds <= 0.0 or arguments.server_threads < 1:
        arguments.parser.error("--actions must be at least 10, the others above 0")
    options = WorldOptions(
        folder=arguments.out or Path("reports") / f"verify-{arguments.workload}",
        workload=arguments.workload,
        model=arguments.model,
        mappings=tuple(arguments.mappings.split(",")) if arguments.mappings else (),
        server_threads=arguments.server_threads,
        profile_s=arguments.profile_seconds,
        uplink=arguments.uplink,
    )
    with ProgressLine[str]("dvfo verify: looking", lambda told: f"dvfo verify: {told}") as tell:
        verified = verify(options, arguments.actions, arguments.seed, tell, arguments.link)
    if arguments.json:
        print_json(json.loads(verified.result.read_text(encoding="utf-8")))
    else:
        _print(verified)
    return 0 if verified.agreement.holds else 1


def _print(verified: Verified) -> None:
    from dvfo_verification.agreement import MEDIAN_PERCENT, P90_PERCENT, RANK_CORRELATION, phase_rows

    agreement = verified.agreement
    rows = [
        (phase, str(count), f"{predicted:.2f}", f"{measured:.2f}", f"{error:.2f}")
        for phase, count, predicted, measured, error in phase_rows(agreement)
    ]
    print_table(("phase", "requests", "predicted ms", "measured ms", "median error ms"), rows)
    told = (
        ("median absolute error", f"{agreement.median_percent:.1f} %", f"{MEDIAN_PERCENT:.0f} %"),
        ("90th percentile", f"{agreement.p90_percent:.1f} %", f"{P90_PERCENT:.0f} %"),
        ("rank correlation", f"{agreement.rank_correlation:.3f}", f"{RANK_CORRELATION:.2f}"),
    )
    print_table(("predicted against measured latency", "here", "promised on an idle machine"), list(told))
    print_note(f"Link: {verified.link}")
    print_note(
        f"Scenario: {verified.world.folder / 'scenario.yaml'} (train on it: dvfo train --scenario FILE)"
    )
    print_note(f"Picture: {verified.picture}")
