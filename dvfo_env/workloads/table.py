"""The table of a workload's cuts, as rows for a terminal, JSON or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.card import Cut, WorkloadCard
from dvfo_env.workloads.library import load_workload, shipped_workloads


def cuts_table(card: WorkloadCard, all_cuts: bool = False) -> list[dict[str, Any]]:
    """One row a cut, in order; plain numbers and strings, ready for JSON.

    Keys: `index` (the cut's number in the card; None where the card leaves the cut out), `name`, `tensors`
    (how many cross), `shape` (of all, joined with ` + `; empty where nothing is sent), `elements`, `fp32_kb`
    and `int8_kb` (what is sent at 4 and 1 bytes an element; 1 kB = 1000 bytes), `gflop_before` and
    `gflop_after` (on the device, on the server), `depth` and `traffic_share` (share of FLOPs and of memory
    traffic before the cut), `ops_before` (kernels).

    Args:
        card: the workload.
        all_cuts: also the cuts between any two operations that the card leaves out; traces the network anew.

    Raises:
        ConfigError: `all_cuts` for a card that was not built from one of the shipped layer graphs.
    """
    source = _card_with_every_cut(card) if all_cuts else card
    index_of = {cut.position: index for index, cut in enumerate(card.cuts)}
    flops = np.concatenate([[0.0], np.cumsum(source.flops)])
    traffic = np.concatenate([[0.0], np.cumsum(source.traffic_bytes)])
    total_traffic = float(traffic[-1]) or 1.0
    return [
        {
            "index": index_of.get(cut.position),
            "name": cut.name,
            "tensors": len(cut.tensors),
            "shape": _shape(cut),
            "elements": cut.elements,
            "fp32_kb": cut.elements * 4 / 1000,
            "int8_kb": cut.elements / 1000,
            "gflop_before": float(flops[i]) / 1e9,
            "gflop_after": float(flops[-1] - flops[i]) / 1e9,
            "depth": float(source.depth[i]),
            "traffic_share": float(traffic[i]) / total_traffic,
            "ops_before": cut.position,
        }
        for i, cut in enumerate(source.cuts)
    ]


def markdown_table(card: WorkloadCard) -> str:
    """The cuts of a card as a Markdown table with a heading, as `docs/workloads.md` has them."""
    header = (
        "cut",
        "name",
        "crossing tensors",
        "elements",
        "fp32 kB",
        "GFLOP before",
        "FLOPs",
        "traffic",
        "ops",
    )
    lines = [_line(header), _line(["--:", "---", "---", *["--:"] * 6])]
    for row in cuts_table(card):
        cells = (
            row["index"],
            f"`{row['name']}`",
            row["shape"] or "(nothing is sent)",
            f"{row['elements']:,}",
            f"{row['fp32_kb']:,.1f}",
            f"{row['gflop_before']:.3f}",
            f"{row['depth']:.1%}",
            f"{row['traffic_share']:.1%}",
            row["ops_before"],
        )
        lines.append(_line(cells))
    return f"### {card.title}: `{card.name}`\n\n" + "\n".join(lines) + "\n"


def checks_markdown() -> str:
    """Our counts of the shipped workloads beside the published ones, as `docs/workloads.md` has them."""
    header = ("workload", "figure", "computed", "also counted there", "published", "source")
    lines = [_line(header), _line(["---", "---", "--:", "--:", "--:", "---"])]
    for name in shipped_workloads():
        for check in load_workload(name).checks:
            digits = max(0, -Decimal(str(check.last_digit)).adjusted())
            source = f"{check.source} ({check.note})" if check.note else check.source
            more = digits + 1 if digits else 0
            also = "" if check.also_counted is None else f"{check.also_counted:.{more}f}"
            figures = f"{check.computed:,.{more}f}", also, f"{check.published:,.{digits}f}"
            lines.append(_line((name, check.quantity, *figures, source)))
    return "\n".join(lines) + "\n"


def print_markdown() -> None:
    """Print the Markdown tables of all shipped workloads."""
    print("\n".join(markdown_table(load_workload(name)) for name in shipped_workloads()), end="")


def _shape(cut: Cut) -> str:
    return " + ".join("x".join(map(str, tensor.shape)) for tensor in cut.tensors)


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _card_with_every_cut(card: WorkloadCard) -> WorkloadCard:
    from dvfo_env.workloads.build import build_card  # torch is only needed here
    from dvfo_env.workloads.networks.catalogue import NETWORKS
    from dvfo_env.workloads.tracing import catalogue_graph

    if card.name in NETWORKS:
        graph = catalogue_graph(card.name)
        if build_card(graph) == card:
            return build_card(graph, every_cut=True)
    raise ConfigError(
        f"workload {card.name}: only its own {len(card.cuts)} cuts are known: the card was not built from "
        f"a network of the catalogue ({', '.join(NETWORKS)})"
    )
