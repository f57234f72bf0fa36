"""Measure on this machine: speed of the environment (beside CartPole), of exact searches, training, the codec
and decisions; and what information is worth.

Examples:
    dvfo bench env         steps a second, batched and scalar, and the time to the first step
    dvfo bench oracle      milliseconds a decision of the clairvoyant, of the bound; best fixed action
    dvfo bench train       steps a second, share of the environment and peak memory of a short training run
    dvfo bench information what knowing more about the uplink would be worth to the best learner
    dvfo bench codec       MB of float32 features encoded and decoded a second, one core, by setting
    dvfo bench decision    microseconds a decision: stable-baselines3, numpy, ONNX in the controller, C
"""

from __future__ import annotations

import argparse
from typing import Any

from dvfo_cli.output import print_json, print_note, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo bench`."""
    parser.add_argument(
        "what", choices=("env", "oracle", "train", "information", "codec", "decision"), help="what"
    )
    parser.add_argument("--scenario", default="default", help="shipped name or .yaml file; default: default")
    parser.add_argument(
        "--run",
        metavar="DIR",
        help="for env: also with the decisions of this trained policy; for decision: its decisions",
    )
    parser.add_argument("--agent", default="hindsight", help="for train; default: hindsight")
    parser.add_argument("--minutes", type=float, default=0.5, help="for train: how long; default: 0.5")
    parser.add_argument(
        "--steps", type=int, default=1_000_000, help="for information: of each training; default: 1000000"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    result = _measure(arguments)
    if arguments.json:
        print_json(result)
        return 0
    speeds = result.pop("speeds", [])
    print_table(("figure", arguments.what), list(result.items()))
    if speeds:
        print_note()
        names = {
            "encode_mb_per_s": "encode MB/s",
            "decode_mb_per_s": "decode MB/s",
            "median_us": "median us",
            "p99_us": "p99 us",
            "p99_cpu_us": "p99 CPU us",
        }
        columns = [names.get(key, key) for key in speeds[0]]
        print_table(columns, [tuple(speed.values()) for speed in speeds])
    return 0


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.what == "env":
        from dvfo_benchmarks.env import bench_env

        return bench_env(arguments.scenario, run=arguments.run)
    if arguments.what == "oracle":
        from dvfo_benchmarks.oracle import bench_oracle

        return bench_oracle(arguments.scenario)
    if arguments.what == "information":
        from dvfo_benchmarks.information import bench_information

        return bench_information(arguments.scenario, steps=arguments.steps)
    if arguments.what == "codec":
        from dvfo_benchmarks.codec import bench_codec

        return bench_codec()
    if arguments.what == "decision":
        from dvfo_benchmarks.decision import bench_decision

        return bench_decision(arguments.scenario, run=arguments.run)
    from dvfo_benchmarks.train import bench_train

    return bench_train(arguments.scenario, agent=arguments.agent, minutes=arguments.minutes)
