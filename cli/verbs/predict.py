"""Predict latency, power and energy of one inference, or of its part before a cut, at one operating point.

Example:
    dvfo predict --device jetson-tx2 --workload resnet50 --mapping gpu
                 --cpu-mhz 2035.2 --gpu-mhz 1300.5 --mem-mhz 1866
"""

from __future__ import annotations

import argparse

from dvfo_cli.output import print_json, print_note, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo predict`."""
    parser.add_argument("--device", required=True, help="shipped name (see dvfo devices) or a .yaml profile")
    parser.add_argument("--workload", required=True, help="shipped name (see dvfo workloads) or a .yaml card")
    parser.add_argument("--mapping", required=True, help="where it runs: gpu, big4, big4>gpu@CUT, ...")
    parser.add_argument("--cpu-mhz", type=float, help="CPU clock; leave out where the device has none")
    parser.add_argument("--gpu-mhz", type=float, help="GPU clock; leave out where the device has none")
    parser.add_argument("--mem-mhz", type=float, help="memory clock; leave out where the device has none")
    parser.add_argument("--cut", help="name or index: only what runs before it; default: the whole network")
    parser.add_argument(
        "--energy",
        choices=("board", "dynamic", "rails"),
        default="board",
        help="what counts: the board's input, that minus quiet idle, or the compute rails; default: board",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the prediction."""
    from dvfo_env.devices import predict

    result = predict(
        arguments.device,
        arguments.workload,
        arguments.mapping,
        arguments.cpu_mhz,
        arguments.gpu_mhz,
        arguments.mem_mhz,
        arguments.cut,
        arguments.energy,
    )
    if arguments.json:
        print_json(result)
        return 0
    clocks = ", ".join(
        f"{label} {result[key]:g} MHz"
        for label, key in (("CPU", "cpu_mhz"), ("GPU", "gpu_mhz"), ("memory", "mem_mhz"))
        if result[key]
    )
    print_note(
        f"{result['workload']} on {result['device']} ({result['mapping']}; {clocks or 'fixed clocks'})"
    )
    print_note(f"everything before cut {result['cut_index']} ({result['cut']})")
    print_note(f"latency {result['latency_ms']:.2f} ms")
    if result["energy_mj"] is None:
        print_note("latency only: nothing says this device's power")
        return 0
    rows = [
        (part, float(result["power_mw"][part]), float(result["energy_mj"][part]))
        for part in sorted(result["energy_mj"], key=lambda part: part == "total")
    ]
    print_table((f"{result['energy_definition']} energy", "power_mw", "energy_mj"), rows)
    return 0
