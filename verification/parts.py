"""What a scenario of this machine needs beside the device profile: codecs, server tails, the way there."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.split.client import SplitClient
from dvfo_controller.split.codecs import Codecs, is_image_codec
from dvfo_controller.split.cutting import Cut
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_env.accuracy import AccuracyTable, assumed_table
from dvfo_env.accuracy.levels import Levels, compression_levels
from dvfo_env.accuracy.table import Machine, Row, columns_of
from dvfo_env.codecs.reference import reference_encode_ms
from dvfo_env.errors import SplitError
from dvfo_env.workloads import WorkloadCard

Image = NDArray[np.uint8]
Tell = Callable[[str], None]

#: Requests a cut is timed by on the server, after two that warm up; the median counts.
TAIL_REPEATS = 9
_WARM_UP = 2


@dataclass(frozen=True)
class ServerTimes:
    """The server as the client meets it: time of what follows each cut [ms], of the way there and back."""

    tail_ms: dict[str, float]
    loopback_ms: float


def codec_table(
    card: WorkloadCard, engine: Engine, images: Sequence[Image], levels: int, tell: Tell
) -> AccuracyTable:
    """An accuracy table whose bytes and times were measured here, on features of `images`.

    What settings lose is taken from networks that were measured elsewhere (`assumed_table`), and so is the
    choice of `levels` settings a cut. Bottlenecks are left out: they need weights trained for the network.
    """
    assumed = assumed_table(card)
    rows = [row for row in assumed.all_rows() if not row.codec.startswith("bottleneck")]
    choice = compression_levels(assumed.model_copy(update={"rows": columns_of(rows)}), card, levels)
    codecs = Codecs(engine)
    found: list[Row] = []
    for k, name in enumerate(choice.cuts):
        tell(f"timing codecs, cut {k + 1} of {len(choice.cuts)}")
        found += _timed_at(engine, codecs, engine.cut(name), _settings(choice, k), images)
    return AccuracyTable(
        name=f"{card.name}-here",
        title=f"{card.title}: bytes and times measured on this machine, points lost derived",
        note="lost points are derived from other networks: only bytes and times were measured here",
        workload=card.name,
        evidence="assumed",
        source=f"bytes and times: dvfo verify, {len(images)} synthetic images; lost points: {assumed.source}",
        charges=assumed.charges,
        machine=Machine(
            cpu=platform.processor() or platform.machine(),
            software=f"numpy {np.__version__}",
            reference_encode_ms=reference_encode_ms(),
        ),
        difficulty=assumed.difficulty,
        rows=columns_of(found),
    )


def _settings(choice: Levels, cut: int) -> list[Row]:
    """The distinct settings of a cut."""
    return list({(row.codec, row.ranking): row for row in choice.rows[cut]}.values())


def _timed_at(
    engine: Engine, codecs: Codecs, cut: Cut, rows: list[Row], images: Sequence[Image]
) -> list[Row]:
    """The settings of a cut, each encoded as a request does it: once, right after the head has run."""
    size = np.zeros((len(rows), len(images)))
    encode_ms, decode_ms = np.zeros_like(size), np.zeros_like(size)
    for j in range(-1, len(images)):  # the first round warms up
        for i, row in enumerate(rows):
            tensors = engine.run_head(cut, images[j])
            begun = perf_counter_ns()
            frame = codecs.encode(cut, row.codec, tensors, images[j])
            encoded = perf_counter_ns()
            codecs.decode(cut, memoryview(frame))
            decoded = perf_counter_ns()
            size[i, j] = len(frame)
            encode_ms[i, j] = (encoded - begun) * 1e-6
            decode_ms[i, j] = (decoded - encoded) * 1e-6
    return [
        row._replace(
            bytes_mean=float(size[i].mean()),
            bytes_p95=float(np.quantile(size[i], 0.95)),
            encode_ms=float(np.median(encode_ms[i])),
            decode_ms=float(np.median(decode_ms[i])),
        )
        for i, row in enumerate(rows)
    ]


def server_times(
    client: SplitClient, table: AccuracyTable, mapping: Mapping, image: Image, tell: Tell
) -> ServerTimes:
    """Time every cut's tail on the server through an unshaped client, least first to warm up.

    The server's own time less that of decoding is the tail's; what the request was away beyond the server's
    time is the way there and back, of the cut that sends least.

    Raises:
        SplitError: the server did not answer.
    """
    client.wait_connected()
    decode = {(row.cut, row.codec): row.decode_ms for row in table.all_rows()}
    cuts = list(dict.fromkeys(row.cut for row in table.all_rows()))
    tails, ways = {}, {}
    for number, cut in enumerate(reversed(cuts)):
        tell(f"timing the server's tails, cut {number + 1} of {len(cuts)}")
        codec = _timing_codec(cut, table)
        times, way = [], []
        for repeat in range(TAIL_REPEATS + _WARM_UP):
            answer = client.request(image, cut, mapping, codec)
            if answer.where != "server":
                raise SplitError(f"timing the tail after {cut}: the server did not answer: {answer.why}")
            if repeat >= _WARM_UP:
                server_ms = answer.server_ms or 0.0
                times.append(server_ms)
                away_ms = sum(answer.phases_ms[phase] for phase in ("send", "network", "server"))
                way.append(max(away_ms - server_ms, 0.0))
        tails[cut] = max(float(np.median(times)) - decode.get((cut, codec), 0.0), 0.0)
        ways[answer.sent_bytes] = float(np.median(way))
    return ServerTimes(tails, ways[min(ways)])


def _timing_codec(cut: str, table: AccuracyTable) -> str:
    """A setting of the table that is cheap to decode: of those at the cut the one with the least time."""
    rows = [row for row in table.all_rows() if row.cut == cut]
    images = [row for row in rows if is_image_codec(row.codec)]
    return min(images or rows, key=lambda row: row.decode_ms).codec
