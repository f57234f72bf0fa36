"""The policies of bundles: `open_policy` finds the module of a bundle's kind and lets it read the bundle.

A module of a kind has `open(bundle) -> DevicePolicy`. Nothing here is chosen by the bundle but one of the
kinds below: a bundle names no module, class or file of code.
"""

from __future__ import annotations

import importlib
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import Bundle
from dvfo_env.errors import BundleError

#: Kind of policy -> its module here.
KINDS = {
    "graph": "graph",
    "planner": "planner",
    "mpc": "mpc",
    "last-seen": "last_seen",
    "bandit": "bandit",
    "governing": "governing",
    "draw": "draw",
}


class DevicePolicy(Protocol):
    """What decides on a device, one request after the other."""

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite.
        """

    def reset(self) -> None:
        """Forget everything about earlier requests: a new session begins."""


@runtime_checkable
class LearningDevicePolicy(Protocol):
    """One that goes on learning while it decides."""

    def learn(self, cost: float) -> None:
        """What the request last decided on turned out to cost, dropped ones since included."""


def open_policy(bundle: Bundle) -> DevicePolicy:
    """The policy of a bundle, ready to decide.

    Raises:
        BundleError: its kind is not known, or its files do not hold such a policy.
    """
    kind = bundle.manifest.policy.kind
    if kind not in KINDS:
        raise BundleError(f"{bundle.path}: policy: kind {kind!r} is not one of {', '.join(KINDS)}")
    module = importlib.import_module(f"dvfo_controller.policies.{KINDS[kind]}")
    policy: DevicePolicy = module.open(bundle)
    return policy
