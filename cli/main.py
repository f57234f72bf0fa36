"""The `dvfo` command: finds the verb, builds that verb's parser only, and turns errors into one line.

Nothing here or at the top level of a verb's module imports numpy, gymnasium, torch or numba: `--help` must
answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

#: Every verb with its line in `dvfo --help`.
VERBS = {
    "train": "train an agent on a scenario; resumes where it stopped",
    "evaluate": "judge trained agents and baselines over scenarios and seeds; write the report",
    "tune": "search for an agent's hyper-parameters; resumable, stored in one file",
    "scenarios": "list the scenarios with their headroom and the baselines' scores",
    "devices": "list, show or compare device profiles, every coefficient with its evidence",
    "workloads": "list networks, show the table of cuts of one, add your own",
    "serve": "run the tails of a network for devices that run its heads",
    "profile": "measure this machine: a device profile of its cores, clocks and energy",
    "predict": "latency, power and energy of one operating point",
    "accuracy": "measure accuracy under compression of a network, show what was measured",
    "calibrate": "fit device profiles, server profiles and uplink models to raw measurements",
    "export": "write a policy bundle, or C source, that a device runs",
    "leaderboard": "add results to the leaderboard, run them again, rank the agents",
    "validate": "re-run rows of a results file and compare",
    "verify": "run joint actions for real on this machine; compare with what the model predicts",
    "demo": "measure this machine, learn, deploy, compare: everything once, for real",
    "bench": "measure the speed of the environment, the oracle and training",
}

#: Verbs that have a script of their own, which parses for itself.
SCRIPTS = {"train": "dvfo_train", "evaluate": "dvfo_evaluate"}


def main(argv: list[str] | None = None) -> int:
    """Run one `dvfo` command line and return its exit status.

    0 is success, 2 an error in what was asked for (one line on stderr), 130 an interrupt.
    """
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # the reader (head, less) has left; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("dvfo: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not _is_ours(error):
            raise
        print(f"dvfo: error: {error}", file=sys.stderr)
        return 2


def _run(argv: list[str]) -> int:
    if not argv:
        _parser().print_help()
        return 0
    if argv[0].startswith("-"):
        _parser().parse_args(argv)
        return 0
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        return _unknown(verb)
    if verb in SCRIPTS:
        script = importlib.import_module(SCRIPTS[verb])
        if not {"-h", "--help"}.isdisjoint(rest):  # before the script imports anything
            parser: argparse.ArgumentParser = script.build_parser()
            parser.prog = f"dvfo {verb}"
            parser.parse_args(rest)
        return int(script.main(rest))
    module = importlib.import_module(f"dvfo_cli.verbs.{verb}")
    parser = argparse.ArgumentParser(
        prog=f"dvfo {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(rest)))


def _parser() -> argparse.ArgumentParser:
    """The parser of what comes before a verb: help and version."""
    width = max(len(verb) for verb in VERBS)
    verbs = "\n".join(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="dvfo",
        usage="dvfo VERB [options]",
        description="Joint split, mapping, clock and compression decisions for inference on edge devices.\n\n"
        f"verbs:\n{verbs}",
        epilog="dvfo VERB --help explains a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: reading package metadata takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"dvfo {version('dvfo-env')}")
        parser.exit()


def _unknown(verb: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(VERBS)}"
    print(f"dvfo: error: unknown verb {verb!r}; {hint}", file=sys.stderr)
    return 2


def _is_ours(error: Exception) -> bool:
    """Whether this is an error the project raises on purpose; imports nothing to find out."""
    errors = sys.modules.get("dvfo_env.errors")
    return errors is not None and isinstance(error, errors.DvfoError)
