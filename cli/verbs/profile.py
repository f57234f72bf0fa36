"""Measure this machine: how long every segment of a network takes on its cores, at its clocks.

Writes a device profile that every scenario with `device: host` uses, with energy where something measures it.
An interrupted run goes on where it stopped; clocks are always put back.

Examples:
    dvfo profile                                 MobileNetV2, every engine and mapping that exists here
    dvfo profile resnet50 vgg16 --budget 600     two networks in ten minutes; others in the profile stay
    dvfo profile --plan                          what would be measured here; measures nothing
    dvfo profile --idle-watts 3 --cpu-watts 7    energy by hand where nothing measures it (labelled assumed)
    dvfo profile my.yaml --model my.onnx         a network of your own with its card
    dvfo profile --compare a.yaml b.yaml         do two profiles agree within their own noise
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvfo_cli.output import print_json, print_note, print_table
from dvfo_cli.profile_progress import profile_line
from dvfo_evaluation.progress_line import ProgressLine

if TYPE_CHECKING:
    from dvfo_env.profiling.compare import Agreement
    from dvfo_env.profiling.session import Options, Outcome, Surroundings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo profile`."""
    parser.add_argument("workloads", nargs="*", default=["mobilenet-v2"], help="default: mobilenet-v2")
    parser.add_argument(
        "--model", help="what runs a card of your own: module:function (torch) or a .onnx file"
    )
    parser.add_argument(
        "--engine", choices=("onnxruntime", "torch", "all"), default="all", help="default: all"
    )
    parser.add_argument("--mappings", help="only these, comma-separated, as --plan names them")
    parser.add_argument(
        "--clocks", default="4", help="at most so many clocks of each domain, or all; default: 4"
    )
    parser.add_argument("--budget", type=float, default=120.0, metavar="S", help="seconds; default: 120")
    parser.add_argument(
        "--precision",
        type=float,
        default=2.0,
        metavar="%",
        help="half width of every median's 95 %% interval; default: 2",
    )
    parser.add_argument("--idle-watts", type=float, metavar="W", help="power while idle, by hand")
    parser.add_argument("--cpu-watts", type=float, metavar="W", help="power with every core busy, by hand")
    parser.add_argument("--gpu-watts", type=float, metavar="W", help="power with the GPU busy, by hand")
    parser.add_argument("--out", type=Path, help="default: dvfo/devices/host.yaml in the user's data folder")
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted run measured")
    parser.add_argument("--replace", action="store_true", help="forget the other networks in the profile")
    parser.add_argument("--repeat", action="store_true", help="measure a second time and compare")
    parser.add_argument("--plan", action="store_true", help="show what exists here; measure nothing")
    parser.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="compare two profiles; measure nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, plan or compare."""
    if arguments.compare:
        return _print_comparison(_compared(*arguments.compare), arguments.json)
    from dvfo_env.profiling import session

    options = _options(arguments)
    here = session.look(options)
    if arguments.plan:
        return _print_plan(here, arguments.json)
    if not arguments.json:
        _introduce(here)
    first = _measure(options)
    outcomes = [first]
    if arguments.repeat:
        again = first.path.with_name(f"{first.path.stem}.repeat.yaml")
        outcomes.append(_measure(replace(options, out=again, fresh=True, replace=True)))
    if arguments.json:
        print_json([_as_data(outcome) for outcome in outcomes])
    else:
        for outcome in outcomes:
            _print_outcome(outcome)
    if arguments.repeat:
        return _print_comparison(_compared(*(str(outcome.path) for outcome in outcomes)), arguments.json)
    return 0


def _compared(first: str, second: str) -> tuple[Agreement, ...]:
    """Two profiles by name or path, with the logs that lie beside them."""
    from dvfo_env.devices import load_device
    from dvfo_env.devices.library import user_devices_folder
    from dvfo_env.profiling.compare import compare, loops_beside

    def path(name: str) -> Path:
        is_file = name.endswith((".yaml", ".yml"))
        return Path(name) if is_file else user_devices_folder() / f"{name}.yaml"

    loops = (loops_beside(path(first)), loops_beside(path(second)))
    return compare(load_device(first), load_device(second), *loops)


def _options(arguments: argparse.Namespace) -> Options:
    from dvfo_env.profiling.power import Watts
    from dvfo_env.profiling.session import Options

    refuse = arguments.parser.error
    if arguments.budget <= 0.0 or arguments.precision <= 0.0:
        refuse("--budget and --precision must be above 0")
    if arguments.clocks != "all" and not (arguments.clocks.isdigit() and int(arguments.clocks) > 0):
        refuse(f"--clocks: {arguments.clocks!r} is neither a number above 0 nor all")
    watts = None
    if arguments.idle_watts is not None or arguments.cpu_watts is not None:
        if arguments.idle_watts is None or arguments.cpu_watts is None:
            refuse("--idle-watts and --cpu-watts need each other")
        if arguments.idle_watts < 0.0:
            refuse("--idle-watts: below 0")
        watts = Watts(arguments.idle_watts, arguments.cpu_watts, arguments.gpu_watts)
    return Options(
        workloads=tuple(dict.fromkeys(arguments.workloads)),
        model=arguments.model,
        engines=() if arguments.engine == "all" else (arguments.engine,),
        mappings=tuple(arguments.mappings.split(",")) if arguments.mappings else (),
        clocks=None if arguments.clocks == "all" else int(arguments.clocks),
        precision_percent=arguments.precision,
        budget_s=arguments.budget,
        watts=watts,
        out=arguments.out,
        fresh=arguments.fresh,
        replace=arguments.replace,
    )


def _measure(options: Options) -> Outcome:
    from dvfo_env.profiling import session

    with ProgressLine("making the networks ready", profile_line) as show:
        try:
            return session.run(options, show)
        except KeyboardInterrupt:
            show.clear()
            print("what was measured is kept; the same command goes on from there", file=sys.stderr)
            raise


def _introduce(here: Surroundings) -> None:
    """What is here, before anything is measured."""
    for line in _lines(here):
        print_note(line)
    print_note()
    sys.stdout.flush()


def _lines(here: Surroundings) -> list[str]:
    lines = [here.topology.processor]
    lines += [f"  {line}" for line in here.topology.left_out]
    for domain, axis in here.axes.items():
        values = ", ".join(f"{mhz:g}" for mhz in axis.mhz)
        lines.append(f"{domain} clock: {values + ' MHz' if axis.settable else 'one value'}; {axis.reason}")
    lines.append(
        f"energy: {', '.join(meter.name for meter in here.meters) or 'nothing measures it: latency only'}"
    )
    lines += [f"  {note}" for note in here.meter_notes]
    return lines


def _print_plan(here: Surroundings, as_json: bool) -> int:
    plan = here.plan
    if as_json:
        print_json({"hash": plan.hash, "here": _lines(here), **plan.as_data()})
        return 0
    _introduce(here)
    from dvfo_env.hardware.sysfs import format_cpus

    print_table(
        ("mapping", "engine", "kind", "CPUs", "threads"),
        [(p.name, p.engine, p.kind, format_cpus(p.cpus), len(p.cpus)) for p in plan.places],
    )
    for network in plan.networks:
        conditions = len(plan.conditions(network.name))
        print_note(f"{network.name}: {len(network.segments)} segments, {conditions} conditions")
    print_note(f"until every median is known to {plan.precision_percent:g} %, at most {plan.budget_s:g} s")
    return 0


def _print_outcome(outcome: Outcome) -> None:
    found = outcome.findings
    clocks = any(row.condition.clocks != found.rows[0].condition.clocks for row in found.rows)
    for network in dict.fromkeys(row.condition.network for row in found.rows):
        print_table(
            (
                "mapping",
                *(["cpu/gpu/mem MHz"] if clocks else []),
                "latency\nms",
                "±\n%",
                "noise\n%",
                "heads\n± %",
                "head+tail\n%",
                "visits",
                "quiet\n%",
            ),
            [
                (
                    row.condition.place,
                    *(["/".join(f"{mhz:g}" for mhz in row.condition.clocks)] if clocks else []),
                    row.whole.value,
                    _short(row.whole.half_width_percent),
                    _short(row.noise_percent),
                    _short(row.heads_percent),
                    "-".join(f"{value:.0f}" for value in row.sums_percent),
                    row.visits,
                    _short(row.quiet_percent),
                )
                for row in found.rows
                if row.condition.network == network
            ],
            title=network,
        )
    print_note(
        "±: half of the median's 95 % interval; noise: by how much another run may differ; heads: widest ± "
        "of a head, head+tail: least and most over the cuts, of the whole network; quiet: how the median "
        "changes when only undisturbed visits count"
    )
    for line in _verdict_lines(outcome):
        print_note(line)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _verdict_lines(outcome: Outcome) -> list[str]:
    found = outcome.findings
    lines = [f"machine {found.verdict.text}"]
    if found.verdict.busy:
        lines.append(
            "  BUSY: times may be too long and differ from run to run; stop what else runs and measure again"
        )
    far = [row for row in found.rows if not row.adds_up]
    if far:
        names = ", ".join(dict.fromkeys(f"{row.condition.network} on {row.condition.place}" for row in far))
        lines.append(f"head and tail do NOT add up to the whole network within 10 % at every cut: {names}")
    else:
        lines.append("head and tail add up to the whole network within 10 % at every cut")
    loose = sum(not row.settled for row in found.rows)
    if loose:
        lines.append(
            f"{loose} of {len(found.rows)} conditions not known to the asked precision: the time was spent"
        )
    left = sum(row.cuts_left > 0 for row in found.rows)
    if left:
        lines.append(f"{left} of {len(found.rows)} conditions with heads never timed, put between neighbours")
    profile = outcome.profile
    if profile.power is None:
        lines.append(
            "latency only: nothing measured energy; scenarios need objective.eta 0, or watts by hand (--help)"
        )
    elif profile.power.board.base_mw.evidence == "assumed":
        lines.append("power: assumed, from the watts given by hand")
    else:
        lines.append(f"power: {profile.power.board.fit.conditions}")
    if outcome.resumed:
        lines.append(f"{outcome.resumed} visits came from an interrupted run")
    lines.append(f"{outcome.path} written after {outcome.seconds:.0f} s; measurements in {outcome.log.name}")
    return lines


def _as_data(outcome: Outcome) -> dict[str, Any]:
    found = outcome.findings
    return {
        "profile": str(outcome.path),
        "log": str(outcome.log),
        "seconds": outcome.seconds,
        "resumed_visits": outcome.resumed,
        "latency_only": outcome.profile.power is None,
        "busy": found.verdict.busy,
        "load": {
            "text": found.verdict.text,
            "steal_percent": found.verdict.steal_percent,
            "others_cpus": found.verdict.others_cpus,
            "reference_spread_percent": found.verdict.reference_spread_percent,
        },
        "heads_and_tails_add_up": found.all_add_up,
        "rows": [
            {
                "network": row.condition.network,
                "mapping": row.condition.place,
                "clocks_mhz": list(row.condition.clocks),
                "latency_ms": row.whole.value,
                "low_ms": row.whole.low,
                "high_ms": row.whole.high,
                "half_width_percent": row.whole.half_width_percent,
                "noise_percent": row.noise_percent,
                "heads_half_width_percent": row.heads_percent,
                "heads_never_timed": row.cuts_left,
                "head_and_tail_percent": list(row.sums_percent),
                "visits": row.visits,
                "settled": row.settled,
                "quiet_percent": row.quiet_percent,
            }
            for row in found.rows
        ],
    }


def _print_comparison(found: tuple[Agreement, ...], as_json: bool) -> int:
    agree = all(row.agrees for row in found)
    if as_json:
        from dataclasses import asdict

        print_json({"agree": agree, "rows": [asdict(row) | {"agrees": row.agrees} for row in found]})
        return 0 if agree else 1
    for network in dict.fromkeys(row.network for row in found):
        print_table(
            (
                "mapping",
                "first\nms",
                "second\nms",
                "change\n%",
                "loop\n%",
                "noise\n%",
                "segments\n%",
                "agrees",
            ),
            [
                (
                    row.mapping,
                    row.first_ms,
                    row.second_ms,
                    _short(row.change_percent),
                    _short(row.loop_percent),
                    _short(row.noise_percent),
                    _short(row.segments_percent),
                    row.agrees,
                )
                for row in found
                if row.network == network
            ],
            title=network,
        )
    print_note(
        "loop: change of the reference loop, from the logs beside the profiles; noise: what both profiles "
        "state, and the loop's change; segments: largest change of one, of the whole network"
    )
    print_note(f"{sum(row.agrees for row in found)} of {len(found)} agree within their own noise")
    return 0 if agree else 1
