"""`dvfo verify` from beginning to end: measure this machine, carry out joint actions, compare."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dvfo_controller.images import example_images
from dvfo_env.whole_file import write_whole
from dvfo_verification.agreement import Agreement, draw
from dvfo_verification.links import LinkKind, connected
from dvfo_verification.trial import carry_out, compare, random_actions, uplink_trace
from dvfo_verification.world import World, WorldOptions, measure_world

RESULT, PICTURE = "verify.json", "verify.png"
#: Seed of the images that requests carry: others than those that codecs were calibrated and timed on.
REQUEST_IMAGES, REQUEST_SEED = 8, 1000
#: The uplink is replayed over and over after this long, s.
TRACE_S = 600.0


@dataclass(frozen=True)
class Verified:
    """How well the model agrees with this machine, and where that is written."""

    agreement: Agreement
    world: World
    link: str
    result: Path
    picture: Path


def verify(
    options: WorldOptions, actions: int, seed: int, tell: Callable[[str], None], kind: LinkKind = "auto"
) -> Verified:
    """Measure this machine and compare predicted with measured latencies of random joint actions.

    The machine is measured once: what is in the folder already is kept.

    Raises:
        ConfigError: no such network or uplink, or the folder cannot be written.
        MeasurementError: the network does not run here.
        SplitError: the server did not start.
    """
    world = measure_world(options, tell)
    trace = uplink_trace(world.tables, seed, TRACE_S)
    wanted = random_actions(world.tables, actions, seed)
    height, width = world.input_shape[1:]
    images = example_images(REQUEST_IMAGES, height, width, REQUEST_SEED)
    timeout_ms = float(world.tables.params[0]["offload_timeout_ms"])
    engine = world.engine()
    first = next(iter(world.places.values()))  # what a time-out leaves runs on the first mapping
    with (
        tempfile.TemporaryDirectory(prefix="dvfo-verify-") as scratch,
        connected(
            kind,
            trace,
            engine,
            world.model,
            world.plan_folder,
            options.server_threads,
            timeout_ms,
            first,
            Path(scratch),
        ) as (link, client),
    ):
        trial = carry_out(
            client, world, link, wanted, images,
            lambda done: tell(f"carrying out joint actions, {done} of {actions}"),
        )  # fmt: skip
    engine.close()
    agreement = compare(trial, world, trace)
    result, picture = options.folder / RESULT, options.folder / PICTURE
    told = {
        "link": link.description,
        "scenario": str(options.folder / "scenario.yaml"),
        **agreement.as_json(),
    }
    write_whole(result, json.dumps(told, indent=1) + "\n")
    draw(agreement, picture, f"{actions} random joint actions, {options.workload}, {options.uplink}")
    return Verified(agreement, world, link.description, result, picture)
