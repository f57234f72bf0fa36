"""The `dvfo-controller` command: finds the verb, builds its parser only, and turns errors into one line.

Nothing here or at the top level of a verb's module imports numpy or onnxruntime: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from dvfo_env import __version__
from dvfo_env.errors import DvfoError

#: Every verb with its line in `dvfo-controller --help`; each is a module of `dvfo_controller.verbs`.
VERBS: dict[str, str] = {
    "doctor": "what works on this machine, and which right or setting is missing",
    "restore": "put clocks back that a run left changed",
    "run": "serve requests by a policy: clocks, core mapping, split inference",
    "selfcheck": "check a policy bundle: hashes, then every recorded decision taken again",
    "status": "what a controller here is doing, what it saved, what the board says",
    "unit": "print a systemd unit with rights to this machine's clocks alone",
}


def main(argv: list[str] | None = None) -> int:
    """Run one `dvfo-controller` command line and return its exit status.

    0 is success, 1 a check that found something, 2 an error in what was asked for (one line on stderr), 130
    an interrupt.
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
        print("dvfo-controller: interrupted", file=sys.stderr)
        return 130
    except DvfoError as error:
        print(f"dvfo-controller: error: {error}", file=sys.stderr)
        return 2


def _run(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-") or argv[0] not in VERBS:
        _parser().parse_args(argv or ["--help"])
        return 0
    verb, rest = argv[0], argv[1:]
    module = importlib.import_module(f"dvfo_controller.verbs.{verb}")
    parser = argparse.ArgumentParser(
        prog=f"dvfo-controller {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(rest)))


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, VERBS), default=0)
    lines = "\n".join(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="dvfo-controller",
        usage="dvfo-controller VERB [options]",
        description="Runs a learned policy on a device: clocks, core mapping and split inference.",
        epilog=f"verbs:\n{lines}\n\ndvfo-controller VERB --help explains a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"dvfo-controller {__version__}")
    return parser
