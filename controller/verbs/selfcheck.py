"""Check a policy bundle: sizes and hashes, then every recorded decision taken again on this device.

Example:
    dvfo-controller selfcheck bundle
"""

from __future__ import annotations

import argparse
import json
import sys
import time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo-controller selfcheck`."""
    parser.add_argument("bundle", help="the folder that dvfo export wrote")
    parser.add_argument("--digest", help="refuse any other bundle than the one with this digest")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Replay the recorded decisions; 1 where one differs."""
    from dvfo_controller.bundle import read_bundle
    from dvfo_controller.policies import open_policy
    from dvfo_controller.vectors import first_mismatch, read_vectors

    bundle = read_bundle(arguments.bundle, arguments.digest)
    vectors = read_vectors(bundle)
    policy = open_policy(bundle)
    begun = time.perf_counter()
    mismatch = first_mismatch(bundle, policy, vectors)
    spent_us = (time.perf_counter() - begun) * 1e6 / len(vectors.actions)
    result = {
        "bundle": str(bundle.path),
        "policy": bundle.name,
        "kind": bundle.manifest.policy.kind,
        "digest": bundle.digest,
        "decisions": len(vectors.actions),
        "mismatch": mismatch,
        "mean_us": spent_us,
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
    elif mismatch is None:
        print(f"{bundle.name}: {len(vectors.actions)} recorded decisions are taken again")
        print(f"digest {bundle.digest}")
    else:
        print(f"{bundle.path}: {mismatch}", file=sys.stderr)
    return 0 if mismatch is None else 1
