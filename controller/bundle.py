"""The policy bundle: what it holds, how it is read and written, and the one definition of its format.

A bundle is a folder of ONNX and JSON files with a `manifest.json` that lists every other file with its size
and SHA-256. Reading one executes nothing: sizes and hashes are checked before anything is parsed further,
and what was checked is what is used later, because it is kept in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dvfo_controller.records import laid_out, parse_json, plain, read_record
from dvfo_env.errors import BundleError

FORMAT = "dvfo-bundle/1"
MANIFEST, VECTORS = "manifest.json", "vectors.json"
#: The parts of a joint action, in the order of its indices.
PARTS = ("cut", "mapping", "cpu_mhz", "gpu_mhz", "mem_mhz", "compression")

MANIFEST_BYTES = 4 << 20
FILE_BYTES = 64 << 20
BUNDLE_BYTES = 128 << 20
MOST_FILES = 16
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\.(onnx|json)")
_DIGEST = re.compile(rb'\n "digest": "([0-9a-f]{64})"\n\}\n\Z')


@dataclass(frozen=True)
class PolicyEntry:
    """How to decide: `kind` names a module of `dvfo_controller.policies`, `settings` is what that one reads.

    `label` is the agent's name in tables; `steps` how long it was trained, None where it was not.
    """

    kind: str
    label: str
    steps: int | None
    settings: dict[str, Any]


@dataclass(frozen=True)
class World:
    """What the policy was made for; `tables_sha256` is of all that the scenario's simulation reads."""

    scenario: str
    tables_sha256: str
    device: str
    workload: str
    uplink: str
    server: str
    accuracy: str
    input_shape: tuple[int, ...]


@dataclass(frozen=True)
class Feature:
    """How a physical value [`unit`] becomes a number of the observation.

    linear: (value - zero) / span, limited to [low, 1]; log2: the same of log2(value);
    age: t / (t + span), 1 where it never happened; share: value / span, limited to [0, 1];
    index: value / span, `low` where there is none.
    """

    name: str
    unit: str
    law: str
    zero: float
    span: float
    low: float


@dataclass(frozen=True)
class Tensor:
    """A tensor that crosses a cut, shape without the batch dimension."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """Where the network can be split; `position` counts the operations before it.

    `tail_ms`: unloaded server's time for what follows. The last cut has no tensors: everything runs here.
    """

    name: str
    position: int
    tensors: tuple[Tensor, ...]
    tail_ms: float


@dataclass(frozen=True)
class Place:
    """Cores or accelerator that layers run on: `threads` cores of a cluster, or driving the GPU."""

    name: str
    kind: str
    cluster: str
    threads: int


@dataclass(frozen=True)
class MappingChoice:
    """One place, or two with the layer after which the second takes over (`FIRST>SECOND@LAYER`)."""

    name: str
    places: tuple[Place, ...]
    until_layer: str | None


@dataclass(frozen=True)
class Level:
    """A compression level of a cut: `kind` is feature, bottleneck, image or none; `codec` its name.

    `mean_bytes` sent, `decode_ms` on the server, `lost_points` of accuracy by class of difficulty.
    """

    kind: str
    codec: str
    mean_bytes: float
    decode_ms: float
    lost_points: tuple[float, ...]


@dataclass(frozen=True)
class Action:
    """The legal values of every part of the joint action; `compression` [cut][level]."""

    cuts: tuple[Cut, ...]
    mappings: tuple[MappingChoice, ...]
    cpu_mhz: tuple[float, ...]
    gpu_mhz: tuple[float, ...]
    mem_mhz: tuple[float, ...]
    compression: tuple[tuple[Level, ...], ...]
    out_of_the_box: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of each part, in the order of PARTS."""
        clocks = (len(self.cpu_mhz), len(self.gpu_mhz), len(self.mem_mhz))
        return (len(self.cuts), len(self.mappings), *clocks, len(self.compression[0]))

    def check(self, where: str) -> None:
        """Refuse lists that do not fit together.

        Raises:
            BundleError: names the part.
        """
        for part, size in zip(PARTS, (len(self.compression), *self.sizes[1:5], 1), strict=True):
            if size < 1:
                raise BundleError(f"{where}: {part}: has no choices")
        if len(self.compression) != len(self.cuts):
            raise BundleError(
                f"{where}: compression: is of {len(self.compression)} cuts, there are {len(self.cuts)}"
            )
        if {len(levels) for levels in self.compression} != {self.sizes[-1]} or not self.sizes[-1]:
            raise BundleError(f"{where}: compression: every cut needs equally many levels")
        box = self.out_of_the_box
        if len(box) != len(PARTS) or not all(0 <= i < n for i, n in zip(box, self.sizes, strict=True)):
            raise BundleError(f"{where}: out_of_the_box: {list(box)} is no action of sizes {self.sizes}")


@dataclass(frozen=True)
class RequestClock:
    """When requests come and how long they are worth something; `link_monitor_ms` None: no monitor.

    `decision_mode` and `decision_ms`: what the policy was made to expect of its own time to decide.
    """

    arrival: str
    period_ms: float
    deadline_ms: float
    queue_limit_ms: float
    offload_timeout_ms: float
    link_monitor_ms: float | None
    decision_mode: str
    decision_ms: float


@dataclass(frozen=True)
class Objective:
    """The cost of a request, for policies that go on learning: see `dvfo_env.scenario.Objective`.

    cost = eta * energy_weight_per_mj * mJ + (1 - eta) * latency_weight_per_ms * ms
           + accuracy_weight_per_point * points lost + deadline_weight * [late]
    A dropped request costs eta * drop_energy_cost + (1 - eta) * drop_latency_cost + deadline_weight.
    """

    eta_low: float
    eta_high: float
    latency_weight_per_ms: float
    energy_weight_per_mj: float
    accuracy_weight_per_point: float
    deadline_weight: float
    drop_latency_cost: float
    drop_energy_cost: float


@dataclass(frozen=True)
class Trip:
    """A temperature at which the device caps a clock (`domain` cpu or gpu) until it is below another."""

    domain: str
    temperature_c: float
    release_c: float
    most_mhz: float


@dataclass(frozen=True)
class FileEntry:
    """Size and SHA-256 (hex) of a file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything a device needs to know about a policy beside the policy itself.

    `battery_mj`: energy when full, None on mains. `difficulty_classes`: 1 where it is not told.
    """

    format: str
    made_by: str
    policy: PolicyEntry
    world: World
    observation: tuple[Feature, ...]
    action: Action
    requests: RequestClock
    objective: Objective
    trips: tuple[Trip, ...]
    battery_mj: float | None
    difficulty_classes: int
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory, every file checked.

    Attributes:
        path: the folder it was read from.
        digest: SHA-256 (hex) that stands for all of it; whoever knows it knows the bundle is the one meant.
        files: name -> content, without the manifest.
    """

    path: Path
    digest: str
    manifest: Manifest
    files: Mapping[str, bytes]

    @cached_property
    def name(self) -> str:
        """What messages call it: label and scenario."""
        return f"{self.manifest.policy.label} for {self.manifest.world.scenario}"

    def file(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            BundleError: the bundle has no such file.
        """
        if name not in self.files:
            raise BundleError(f"{self.path}: has no {name}, which a {self.manifest.policy.kind} policy needs")
        return self.files[name]


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as it stands in a bundle: readable JSON with a digest over itself."""
    data = plain(manifest) | {"digest": "0" * 64}
    text = (laid_out(data) + "\n").encode()
    return _with_digest(text, hashlib.sha256(text).hexdigest().encode())


def read_bundle(path: Path | str, digest: str | None = None) -> Bundle:
    """Read and check a bundle.

    Args:
        path: the folder.
        digest: refuse any other bundle than the one with this digest.

    Raises:
        BundleError: one line: what is missing, too large, altered, of another format or impossible.
    """
    folder = Path(path)
    where = str(folder / MANIFEST)
    raw = _read_file(folder, MANIFEST, MANIFEST_BYTES)
    found = _check_digest(raw, where)
    if digest is not None and digest != found:
        raise BundleError(f"{folder}: its digest is {found}, expected {digest}")
    data = parse_json(raw, where)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        given = data.get("format") if isinstance(data, dict) else data
        raise BundleError(f"{where}: format: expected {FORMAT!r}, found {str(given)[:40]!r}")
    data.pop("digest")
    manifest = read_record(Manifest, data, where)
    manifest.action.check(f"{where}: action")
    _check_entries(manifest.files, where)
    files = {name: _checked_file(folder, name, entry) for name, entry in manifest.files.items()}
    return Bundle(folder, found, manifest, files)


def _check_digest(raw: bytes, where: str) -> str:
    match = _DIGEST.search(raw)
    if match is None:
        raise BundleError(f"{where}: does not end with its digest: not a bundle's manifest, or cut short")
    if hashlib.sha256(_with_digest(raw, b"0" * 64)).hexdigest().encode() != match[1]:
        raise BundleError(f"{where}: does not have the digest it names: it was altered")
    return match[1].decode()


def _with_digest(raw: bytes, digest: bytes) -> bytes:
    match = _DIGEST.search(raw)
    assert match is not None
    return raw[: match.start(1)] + digest + raw[match.end(1) :]


def _check_entries(files: dict[str, FileEntry], where: str) -> None:
    if len(files) > MOST_FILES:
        raise BundleError(f"{where}: files: {len(files)} are listed, at most {MOST_FILES} are allowed")
    for name, entry in files.items():
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise BundleError(f"{where}: files: {name[:80]!r} is not the name of a file of a bundle")
        if not 0 <= entry.bytes <= FILE_BYTES:
            raise BundleError(
                f"{where}: files: {name}: {entry.bytes} bytes, at most {FILE_BYTES} are allowed"
            )
    if sum(entry.bytes for entry in files.values()) > BUNDLE_BYTES:
        raise BundleError(f"{where}: files: more than {BUNDLE_BYTES} bytes together")


def _checked_file(folder: Path, name: str, entry: FileEntry) -> bytes:
    data = _read_file(folder, name, entry.bytes)
    if len(data) != entry.bytes:
        raise BundleError(f"{folder / name}: has {len(data)} bytes, the manifest says {entry.bytes}")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BundleError(f"{folder / name}: does not have the SHA-256 that the manifest names")
    return data


def _read_file(folder: Path, name: str, most: int) -> bytes:
    """A regular file of the folder, no link, of at most `most` bytes."""
    path = folder / name
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
        with open(handle, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path}: is not a regular file")
            if status.st_size > most:
                raise BundleError(f"{path}: has {status.st_size} bytes, at most {most} are expected")
            return file.read(most + 1)[: most + 1]
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from None
