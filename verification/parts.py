"""What a scenario of this machine needs beside the device profile: codecs, server tails, the way there."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.split.client import SplitClient
from dvfo_controller.split.codecs import Codecs, is_image_codec
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_env.accuracy import AccuracyTable, assumed_table
from dvfo_env.accuracy.levels import compression_levels
from dvfo_env.accuracy.table import Machine, Row, columns_of
from dvfo_env.codecs.reference import reference_encode_ms
from dvfo_env.errors import SplitError
from dvfo_env.workloads import WorkloadCard

Image = NDArray[np.uint8]
Tell = Callable[[str], None]

#: Requests a cut is timed by on the server, after one that warms up; the median counts.
TAIL_REPEATS = 7
#: Bits of the quantised settings that are offered.
QUANTISED = (8, 4)
#: Before each request that is timed: on a device something else happens between two requests.
PAUSE_S = 0.02


@dataclass(frozen=True)
class ServerTimes:
    """The server as the client meets it: time of what follows each cut [ms], of the way there and back."""

    tail_ms: dict[str, float]
    loopback_ms: float


@dataclass(frozen=True)
class InService:
    """Times of a device that serves a request now and then, not the same one in a loop.

    table: bytes and times of encoders. head_ms: mapping -> cut -> median time of the head, with taking the
    image in.
    """

    table: AccuracyTable
    head_ms: dict[str, dict[str, float]]


def in_service(
    card: WorkloadCard,
    engine: Engine,
    places: dict[str, Mapping],
    images: Sequence[Image],
    levels: int,
    tell: Tell,
) -> InService:
    """Time heads and encoders as requests meet them: another cut and encoder each time, after a pause.

    What settings lose is taken from networks that were measured elsewhere (`assumed_table`), and so is the
    choice of `levels` settings a cut. Bottlenecks are left out: they need weights trained for the network.
    """
    assumed = assumed_table(card)
    settings = settings_worth_timing(card, levels)
    codecs = Codecs(engine)
    tell("timing heads and encoders")
    for mapping in places.values():
        for cut in card.cut_names:
            for session in engine.prepare(cut, mapping, ["head"]):
                session.result()
    for row in settings:  # makes the encoder
        codecs.encode(engine.cut(row.cut), row.codec, engine.run_head(row.cut, images[0]), images[0])
    tasks = [(row, j) for row in settings for j in range(len(images))]
    np.random.default_rng(0).shuffle(tasks)
    heads: dict[str, dict[str, list[float]]] = {name: {} for name in places}
    times: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    for number, (row, j) in enumerate(tasks):
        tell(f"timing heads and encoders, {number} of {len(tasks)}")
        name = list(places)[number % len(places)]
        head_ms, *timed = _timed(engine, codecs, row, places[name], images[j])
        heads[name].setdefault(row.cut, []).append(head_ms)
        times.setdefault((row.cut, row.codec), []).append((int(timed[0]), timed[1], timed[2]))
    return InService(
        _table(card, assumed, settings, times, len(images)),
        {name: {cut: float(np.median(ms)) for cut, ms in cuts.items()} for name, cuts in heads.items()},
    )


def settings_worth_timing(card: WorkloadCard, levels: int) -> list[Row]:
    """At most `levels` settings of each cut, by what is known of other networks.

    Bottlenecks need weights trained for the network. Of quantised settings those of `QUANTISED` bits are
    taken, because finding the ranges of a bit width takes seconds a cut.
    """
    assumed = assumed_table(card)
    rows = [
        row
        for row in assumed.all_rows()
        if not row.codec.startswith("bottleneck")
        and (row.bits >= 16 or is_image_codec(row.codec) or row.bits in QUANTISED)
    ]
    choice = compression_levels(assumed.model_copy(update={"rows": columns_of(rows)}), card, levels)
    return list({(row.cut, row.codec, row.ranking): row for rows in choice.rows for row in rows}.values())


def _timed(
    engine: Engine, codecs: Codecs, row: Row, mapping: Mapping, image: Image
) -> tuple[float, int, float, float]:
    """One request's head, bytes, encoding and decoding; times in ms."""
    time.sleep(PAUSE_S)
    cut = engine.cut(row.cut)
    begun = perf_counter_ns()
    tensors = engine.run_head(cut, image, mapping)
    headed = perf_counter_ns()
    frame = codecs.encode(cut, row.codec, tensors, image)
    encoded = perf_counter_ns()
    codecs.decode(cut, memoryview(frame))
    decoded = perf_counter_ns()
    return (headed - begun) * 1e-6, len(frame), (encoded - headed) * 1e-6, (decoded - encoded) * 1e-6


def _table(
    card: WorkloadCard,
    assumed: AccuracyTable,
    settings: Sequence[Row],
    times: dict[tuple[str, str], list[tuple[int, float, float]]],
    images: int,
) -> AccuracyTable:
    found = []
    for row in settings:
        size, encode_ms, decode_ms = np.array(times[row.cut, row.codec]).T
        found.append(
            row._replace(
                bytes_mean=float(size.mean()),
                bytes_p95=float(np.quantile(size, 0.95)),
                encode_ms=float(np.median(encode_ms)),
                decode_ms=float(np.median(decode_ms)),
            )
        )
    return AccuracyTable(
        name=f"{card.name}-here",
        title=f"{card.title}: bytes and times measured on this machine, points lost derived",
        note="lost points are derived from other networks: only bytes and times were measured here",
        workload=card.name,
        evidence="assumed",
        source=f"bytes and times: dvfo verify, {images} synthetic images; lost points: {assumed.source}",
        charges=assumed.charges,
        machine=Machine(
            cpu=platform.processor() or platform.machine(),
            software=f"numpy {np.__version__}",
            reference_encode_ms=reference_encode_ms(),
        ),
        difficulty=assumed.difficulty,
        rows=columns_of(found),
    )


def server_times(
    client: SplitClient, table: AccuracyTable, mapping: Mapping, image: Image, tell: Tell
) -> ServerTimes:
    """Time every cut's tail on the server through an unshaped client, cuts in turn, with a pause before each.

    The server's own time less that of decoding is the tail's; what the request was away beyond the server's
    time is the way there and back, of the cut that sends least.

    Raises:
        SplitError: the server did not answer.
    """
    client.wait_connected()
    decode = {(row.cut, row.codec): row.decode_ms for row in table.all_rows()}
    cuts = list(dict.fromkeys(row.cut for row in table.all_rows()))
    client.prepare(cuts, [mapping])
    tails: dict[str, list[float]] = {cut: [] for cut in cuts}
    ways: dict[int, list[float]] = {}
    for repeat in range(TAIL_REPEATS + 1):
        tell(f"timing the server's tails, round {repeat + 1} of {TAIL_REPEATS + 1}")
        for cut in cuts:
            time.sleep(PAUSE_S)
            codec = _timing_codec(cut, table)
            answer = client.request(image, cut, mapping, codec)
            if answer.where != "server":
                raise SplitError(f"timing the tail after {cut}: the server did not answer: {answer.why}")
            if repeat:  # the first round warms up
                server_ms = answer.server_ms or 0.0
                tails[cut].append(max(server_ms - decode[cut, codec], 0.0))
                away_ms = sum(answer.phases_ms[phase] for phase in ("send", "network", "server"))
                ways.setdefault(answer.sent_bytes, []).append(max(away_ms - server_ms, 0.0))
    medians = {cut: float(np.median(ms)) for cut, ms in tails.items()}
    return ServerTimes(medians, float(np.median(ways[min(ways)])))


def _timing_codec(cut: str, table: AccuracyTable) -> str:
    """A setting of the table that is cheap to decode: of those at the cut the one with the least time."""
    rows = [row for row in table.all_rows() if row.cut == cut]
    images = [row for row in rows if is_image_codec(row.codec)]
    return min(images or rows, key=lambda row: row.decode_ms).codec
