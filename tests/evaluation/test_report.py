"""The report: what it says first, that it stands alone, and what its charts are made from."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dvfo_agents.policy import Policy
from dvfo_agents.registry import make_baseline
from dvfo_env.errors import ResultsError
from dvfo_env.observation import index_of, rate_mbps
from dvfo_env.scenario import load_scenario
from dvfo_env.tables import CUT, RATE, CostTables, compile_scenario
from dvfo_evaluation.arena import OWN, Arena, evaluate_scenario
from dvfo_evaluation.behaviour import Record, decision_map, record
from dvfo_evaluation.pareto import BEST_FIXED, Fronts, preference_fronts
from dvfo_evaluation.report import render, write_report, write_suite_report
from dvfo_evaluation.report_answer import answer, called
from dvfo_evaluation.report_behaviour import map_charts
from dvfo_evaluation.report_curves import learning_curve
from dvfo_evaluation.report_style import tip
from dvfo_evaluation.runner import SeedBlock, held_out
from dvfo_evaluation.suite import Suite
from dvfo_evaluation.suite_run import Failure, SuiteResult
from dvfo_evaluation.suite_table import summarise_suite
from tests.evaluation.worlds import scenario_file


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenario_file(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def arena(world: Path) -> Arena:
    names = ("planner", "clairvoyant", "powersave")
    return evaluate_scenario(world, names=names, seeds=8, timed=False)


@pytest.fixture(scope="module")
def page(arena: Arena) -> str:
    return render([arena])


@pytest.fixture(scope="module")
def tables(world: Path) -> CostTables:
    scenario = load_scenario(world)
    objective = {**scenario.objective.model_dump(), "eta": (0.1, 0.9)}
    return compile_scenario(load_scenario(scenario, objective=objective))


@pytest.fixture(scope="module")
def fronts(tables: CostTables) -> Fronts:
    policies: dict[str, Policy] = {"all-local": make_baseline("all-local", tables)}
    return preference_fronts(policies, tables, tables, held_out(4), preferences=3)


def test_the_report_begins_with_the_answer(arena: Arena, page: str) -> None:
    headline = re.search(r"<h1>(.*?)</h1>", page)
    assert headline is not None
    best = arena.contenders[0].agent
    assert headline.group(1).endswith(f": use {called(best)}.")
    first = page[headline.end() :].split("</p>")[0]
    assert "against the device out of the box" in first
    assert "more than the bound" in first


def test_distances_from_the_bound_are_those_of_the_table(arena: Arena) -> None:
    best, bound = arena.contenders[0], arena.rows[-1]
    said = re.search(
        r"It costs (-?[\d.]+) % \[(-?[\d.]+), (-?[\d.]+)\] more than the bound", answer(arena).savings
    )
    assert said is not None
    mean, low, high = map(float, said.groups())
    assert mean == pytest.approx(100.0 * (best.cost.mean / bound.cost.mean - 1.0), abs=0.06)
    assert 0.0 <= low <= mean <= high


def _with_learned(arena: Arena, agent: str, renamed: str) -> Arena:
    """The same evaluation in which the baseline `agent` passes as a learned policy."""
    rows = [
        dataclasses.replace(row, agent=renamed, kind="learned", runs=(renamed,))
        if row.agent == agent
        else row
        for row in arena.rows
    ]
    origins = {**arena.contestants, renamed: arena.contestants[agent]}
    return dataclasses.replace(
        arena, rows=rows, contestants=origins, episodes={**arena.episodes, renamed: arena.episodes[agent]}
    )


def test_it_says_first_when_no_learned_policy_beats_the_planner(arena: Arena) -> None:
    said = answer(_with_learned(arena, "powersave", "ppo run")).against_planner
    assert said[0] == "No learned policy beats the planner here."
    assert re.fullmatch(r"ppo run costs .* more than the planner: it does not beat it\.", said[1])


def test_it_says_by_how_much_a_learned_policy_beats_the_planner(arena: Arena) -> None:
    said = answer(_with_learned(arena, "clairvoyant", "ppo run")).against_planner
    assert re.fullmatch(r"ppo run costs .* less than the planner: it beats it\.", said[0])


def test_nothing_is_said_of_learning_where_nobody_learned(arena: Arena) -> None:
    assert answer(arena).against_planner == ()


def test_the_answer_says_what_is_assumed(arena: Arena) -> None:
    assert re.match(r"(\d+ of the \d+ coefficients|Every number)", answer(arena).assumed)


def test_energy_that_does_not_count_is_left_out_of_the_answer(arena: Arena) -> None:
    objective = arena.tables.scenario.objective.model_copy(update={"eta": 0.0})
    scenario = arena.tables.scenario.model_copy(update={"objective": objective})
    said = answer(
        dataclasses.replace(arena, tables=dataclasses.replace(arena.tables, scenario=scenario))
    )  # fmt: skip
    assert "energy" not in said.savings
    assert "Energy does not count in this scenario" in said.assumed
    assert " energy" in answer(arena).savings


class _References(HTMLParser):
    """Collects whatever a page would fetch, and what its pictures are called."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.named: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "poster", "srcset") and not (
                value or ""
            ).startswith("#"):
                self.found.append(f"{tag} {name}={value}")
        if tag in ("script", "link", "iframe", "object", "embed", "base", "image", "img"):
            self.found.append(tag)
        if tag == "svg":
            self.named.append(dict(attrs)["aria-label"] or "")


def test_the_report_is_one_file_that_fetches_nothing(page: str) -> None:
    parser = _References()
    parser.feed(page)
    assert parser.found == []
    assert "http" not in page
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert [name.split(" ")[0] for name in parser.named][:2] == ["Cost", "Mean"]
    assert any(name.startswith("One episode") for name in parser.named)
    assert all(len(name) > 20 for name in parser.named)
    assert len(page.encode()) < 1_000_000


def test_every_picture_is_well_formed(page: str) -> None:
    for picture in re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(picture.replace("<svg ", '<svg xmlns:xlink="xlink" ', 1))


def test_every_figure_has_a_name_where_the_table_turns_into_cards(page: str) -> None:
    rows = re.findall(r"<tr class=\"(?:baseline|yardstick|bound).*?</tr>", page, flags=re.DOTALL)
    assert rows
    for row in rows:
        cells = re.findall(r"<td[^>]*>", row)
        assert cells[0] == "<td>"
        assert all("data-label=" in cell for cell in cells[1:])


def test_a_report_that_cannot_be_written_is_one_line(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="file"):
        write_report(tmp_path / "file" / "report.html", [arena])


def test_a_suite_begins_with_the_answer_over_all_scenarios(arena: Arena, tmp_path: Path) -> None:
    suite = Suite(name="toy", title="Toys <here>", scenarios=("toy",), ours="planner")
    arenas = {("toy", OWN): arena, ("toy", "again"): dataclasses.replace(arena, variant="again")}
    result = SuiteResult(suite, arenas, (Failure("toy/own/ppo", "no disk"),))
    summary = summarise_suite(result)
    summary["overall"]["again"] = summary["overall"][OWN]
    write_suite_report(tmp_path / "report.html", summary, arenas)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    headline = re.search(r"<h1>(.*?)</h1>", text)
    assert headline is not None
    assert re.fullmatch(r"On this scenario: use .+\.", headline.group(1))
    assert "Toys &lt;here&gt;" in text
    assert "no disk" in text
    assert text.count("<h1>") == 1


def test_a_suite_says_where_nothing_can_be_gained(arena: Arena, tmp_path: Path) -> None:
    idle = dataclasses.replace(arena, bound=arena.episodes["best-fixed"].cost_per_request)
    arenas = {("toy", OWN): arena, ("idle-toy", OWN): idle}
    summary = summarise_suite(
        SuiteResult(
            Suite(name="toy", title="Toys", scenarios=("toy", "idle-toy"), ours="planner"), arenas, ()
        )
    )
    write_suite_report(tmp_path / "report.html", summary, arenas)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "On 1 scenario adapting can gain less than 1 %: there use the best fixed action." in text
    heat = re.search(r'<table class="heat">.*?</table>', text, flags=re.DOTALL)
    assert heat is not None
    assert "<span>toy</span>" in heat.group()
    assert "idle-toy" not in heat.group()
    assert "less than 1 % of the cost: idle-toy." in " ".join(text.split())


def test_a_suite_where_nothing_can_be_gained_says_so(arena: Arena, tmp_path: Path) -> None:
    idle = dataclasses.replace(arena, bound=arena.episodes["best-fixed"].cost_per_request)
    summary = summarise_suite(
        SuiteResult(
            Suite(name="toy", title="Toys", scenarios=("toy",), ours="planner"), {("toy", OWN): idle}, ()
        )
    )
    write_suite_report(tmp_path / "report.html", summary, {("toy", OWN): idle})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>On this scenario: use the best fixed action.</h1>" in text
    assert "Adapting can gain less than 1 %." in text


def test_a_map_asks_at_the_bandwidths_and_temperatures_met(tables: CostTables) -> None:
    usual = float(np.median(tables.bank(1)[:, RATE]))

    class Rule:
        name = "sends when fast"

        def reset(self, n: int) -> None: ...

        def act(self, observations: np.ndarray) -> np.ndarray:
            actions = np.repeat(tables.out_of_the_box[None], len(observations), axis=0)
            actions[rate_mbps(observations[:, index_of("rate_last")]) > usual, CUT] = 0
            return actions

    met = record(Rule(), tables, SeedBlock(1, np.arange(4) + 2_000_000))
    shown = decision_map(Rule(), tables, met)
    assert (np.diff(shown.rate_mbps) > 0.0).all()
    sent = shown.actions[..., CUT] == 0
    assert (sent == (shown.rate_mbps > usual)).all()
    assert 0 < sent.sum() < sent.size
    charts, everywhere = map_charts(tables, {"rule": shown})
    assert [what for what, _ in charts] == ["cut"]
    assert "all on the device" in charts[0][1]
    assert ("mapping", str(tables.choices["mapping"][0])) in everywhere


def test_a_record_is_what_the_runner_sums_up(arena: Arena) -> None:
    seeds = arena.blocks[0].episode_seeds
    met: Record = record(make_baseline("powersave", arena.training), arena.tables, arena.blocks[0])
    answered = np.where(met.ran, met.latency_ms, 0.0).sum(axis=0)
    assert answered == pytest.approx(arena.episodes["powersave"].latency_ms[: len(seeds)])
    assert 0 <= met.most_varied() < len(seeds)


def test_fronts_hold_every_contestant_and_share_one_reference(fronts: Fronts) -> None:
    assert [front.agent for front in fronts.fronts] == ["all-local", BEST_FIXED, "clairvoyant"]
    local, fixed, clairvoyant = fronts.fronts
    assert local.eta.tolist() == pytest.approx([0.1, 0.5, 0.9])
    assert fixed.eta.tolist() == pytest.approx([0.1, 0.9])
    assert fronts.reference_ms > 0.0
    assert fronts.reference_mj > local.energy_mj.max()
    assert clairvoyant.cost.mean() < local.cost.mean()
    assert clairvoyant.hypervolume > local.hypervolume > 0.0
    assert fronts.as_json()["fronts"][0]["latency_ms"] == local.latency_ms.tolist()


def test_the_fronts_chart_names_the_hypervolumes(fronts: Fronts) -> None:
    from dvfo_evaluation.report_charts import fronts_chart

    drawn = fronts_chart(fronts)
    assert f"clairvoyant {100.0 * fronts.fronts[2].hypervolume:.1f} %" in drawn


def test_pauses_between_starts_are_no_training_time(tmp_path: Path, events: Callable[..., None]) -> None:
    events(tmp_path / "tensorboard", [(100, 50.0, 3.0, 0.0), (300, 100.0, 2.0, 5000.0)])
    curve = learning_curve(tmp_path)
    assert curve is not None
    assert curve.seconds.tolist() == pytest.approx([2.0, 4.0])
    assert curve.cost.tolist() == pytest.approx([3.0, 2.0])


def test_a_run_without_events_has_no_curve(tmp_path: Path) -> None:
    assert learning_curve(tmp_path) is None


@pytest.fixture
def events() -> Callable[..., None]:
    """Writes (step, steps a second, cost, wall time) as TensorBoard events into a folder."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    def write(folder: Path, points: list[tuple[int, float, float, float]]) -> None:
        writer = EventFileWriter(str(folder))
        for step, speed, cost, wall_time in points:
            values = {"time/steps_per_s": speed, "reward/mean": -cost}
            summary = Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])
            writer.add_event(Event(step=step, wall_time=wall_time, summary=summary))
        writer.close()

    return write


def test_a_tooltip_holds_what_it_says() -> None:
    assert tip("planner: 40.0 ms") == "tip:planner: 40.0 ms"
