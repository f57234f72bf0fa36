"""The request loop: observe, decide, set clocks, serve, learn; one request after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import Manifest
from dvfo_controller.choices import Choices
from dvfo_controller.observing import Moment, Observer, Transfer
from dvfo_controller.policies import DevicePolicy, LearningDevicePolicy
from dvfo_controller.safety.governor import Applied, Governor
from dvfo_controller.safety.guard import Guard
from dvfo_controller.split.client import Answer, SplitClient
from dvfo_controller.split.cutting import Array

#: Taken where no zone of the board tells a temperature, deg C.
_NO_TEMPERATURE_C = 40.0


@dataclass(frozen=True)
class Served:
    """One request as it was served.

    action: joint-action indices [6] that were carried out; safe: the policy was not asked or not followed.
    waiting_ms: from the arrival until it was taken up; decision_ms: of deciding and setting clocks.
    applied: what stands on the board; None where nothing was set.
    """

    action: NDArray[np.int64]
    safe: bool
    waiting_ms: float
    decision_ms: float
    answer: Answer
    applied: Applied | None

    @property
    def latency_ms(self) -> float:
        """From the arrival to the answer."""
        return self.waiting_ms + self.decision_ms + self.answer.latency_ms


class RequestLoop:
    """Serves requests with the joint actions that a policy decides on.

    Args:
        manifest: of the policy's bundle.
        policy: what decides.
        choices: what of it can be carried out here.
        governor: sets clocks; guard: watches over the policy.
        client: runs the network, split or whole.
        clock: monotonic, s.
    """

    def __init__(
        self,
        manifest: Manifest,
        policy: DevicePolicy,
        choices: Choices,
        governor: Governor,
        guard: Guard,
        client: SplitClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manifest = manifest
        self._policy = policy
        self._choices = choices
        self._governor = governor
        self._guard = guard
        self._client = client
        self._clock = clock
        self._observer = Observer(manifest)
        policy.reset()

    def prepare(self) -> None:
        """Make every session that can be needed, and let the policy decide once, before anything counts."""
        self._client.prepare(self._choices.used_cuts, self._choices.used_mappings)
        self._policy.decide(self._observer.observe(self._moment(self._clock() * 1e3)))
        self._policy.reset()
        self._observer.reset()

    def serve(self, image: Array, arrived_s: float) -> Served:
        """Answer one request that arrived at a moment of the monotonic clock."""
        taken_s = self._clock()
        moment = self._moment(arrived_s * 1e3)
        observation = self._observer.observe(moment)
        asked = self._guard.decide(lambda: self._policy.decide(observation))
        action, applied = self._choices.out_of_the_box, None
        if asked is not None:
            try:
                action = self._choices.legal(asked)
                applied = self._governor.apply(self._choices.wanted(action))
            except Exception as error:  # whatever a policy answers must not stop the device
                self._guard.failed(error)
                asked, action = None, self._choices.out_of_the_box
        self._observer.ask(action)
        decided_s = self._clock()
        answer = self._client.request(
            image,
            self._choices.cut(action),
            self._choices.mapping(action),
            self._choices.codec(action),
            arrived_s=arrived_s,
        )
        served = Served(
            action,
            asked is None,
            max(0.0, taken_s - arrived_s) * 1e3,
            (decided_s - taken_s) * 1e3,
            answer,
            applied,
        )
        self._learn(served)
        return served

    def _moment(self, arrival_ms: float) -> Moment:
        reading = self._guard.look()
        clocks = self._guard.board.clocks_mhz()  # the guard's last reading may be a second old
        hottest = None if reading is None else reading.hottest_c
        capacity, share = self._manifest.battery_mj, None if reading is None else reading.battery_share
        return Moment(
            now_ms=self._clock() * 1e3,
            arrival_ms=arrival_ms,
            clocks=self._observer.clock_indices(*clocks),
            temperature_c=_NO_TEMPERATURE_C if hottest is None else hottest,
            battery_mj=None if capacity is None or share is None else capacity * share,
            difficulty=0 if self._manifest.difficulty_classes == 1 else None,
        )

    def _learn(self, served: Served) -> None:
        """Tell observer and policy what came of a request."""
        answer, now_ms = served.answer, self._clock() * 1e3
        if answer.where == "server":
            factor = self._observer.server_factor(served.action, answer.server_ms or 0.0)
            self._observer.learn(
                Transfer(now_ms, answer.seen_mbps or 0.0, now_ms, answer.rtt_ms or 1.0, factor)
            )
        elif answer.where == "fallback":
            self._observer.learn(Transfer(now_ms - answer.phases_ms["fallback"], answer.seen_mbps or 0.0))
        if isinstance(self._policy, LearningDevicePolicy):
            self._policy.learn(self._cost(served))

    def _cost(self, served: Served) -> float:
        """As the environment counts it (`Objective`); energy counts where the board tells its power."""
        objective, reading = self._manifest.objective, self._guard.reading
        eta = 0.5 * (objective.eta_low + objective.eta_high)
        power_mw = None if reading is None else reading.device_mw
        energy_mj = (power_mw or 0.0) * served.latency_ms * 1e-3
        cut, level = int(served.action[0]), int(served.action[-1])
        lost = (
            self._manifest.action.compression[cut][level].lost_points
            if served.answer.where == "server"
            else ()
        )
        return (
            eta * objective.energy_weight_per_mj * energy_mj
            + (1.0 - eta) * objective.latency_weight_per_ms * served.latency_ms
            + objective.accuracy_weight_per_point * (float(np.mean(lost)) if lost else 0.0)
            + objective.deadline_weight * (served.latency_ms > self._manifest.requests.deadline_ms)
        )
