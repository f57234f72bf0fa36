"""What a server model promises: tails that shrink, loads that only slow down, numbers with a source."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from dvfo_env import servers
from dvfo_env.errors import ConfigError
from dvfo_env.servers import MeasuredTails, ServerModel, list_servers, load_server

WORKLOADS = ("inception-v4", "resnet50", "vgg19", "yolov3-tiny")
IN_THE_TABLES = {"efficientnet-b0", "mobilenet-v2", "resnet18", "resnet50", "squeezenet", "vgg16"}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "servers.md"


@dataclass
class Card:
    name: str = "resnet50"
    flops: NDArray[np.float64] = field(default_factory=lambda: np.array([1e9, 2e9, 0.0, 5e9]))
    cut_names: tuple[str, ...] = ("image", "a", "b", "c", "fc")


def test_all_is_exact() -> None:
    assert sorted(servers.__all__) == list(servers.__all__)
    for name in servers.__all__:
        assert hasattr(servers, name)


def test_four_classes_of_server_are_shipped_and_labelled() -> None:
    labels = {name: load_server(name).title.partition(":")[0] for name in list_servers()}
    assert labels == {
        "cloud-cpu": "cloud CPU",
        "cloud-gpu": "cloud GPU",
        "desktop-cpu": "desktop CPU",
        "edge-gpu": "desktop GPU",
    }


@pytest.mark.parametrize("name", list_servers())
def test_the_page_quotes_what_is_shipped(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for workload, latency in load_server(name).network_ms.items():
        low, high = latency.range or (latency.value, latency.value)
        row = f"| {name} | {workload} | {latency.value:.3g} | {latency.evidence} | {low:.3g} - {high:.3g} |"
        assert row in page


@pytest.mark.parametrize("name", ["cloud-gpu", "edge-gpu"])
def test_a_gpu_has_no_time_for_the_transformer_that_its_tables_ran_on_the_cpu(name: str) -> None:
    assert "vit-b16" not in load_server(name).network_ms


@pytest.mark.parametrize("name", list_servers())
def test_every_number_says_where_it_comes_from(name: str) -> None:
    for field_name, coefficient in load_server(name).coefficients().items():
        assert coefficient.source, field_name
        if coefficient.evidence == "assumed":
            assert coefficient.note, field_name
            assert coefficient.range is not None, field_name
        if coefficient.range is not None:
            low, high = coefficient.range
            assert low <= coefficient.value <= high, field_name


@pytest.mark.parametrize("name", list_servers())
def test_only_networks_in_the_tables_are_called_measured(name: str) -> None:
    profile = load_server(name)
    assert set(WORKLOADS) <= set(profile.network_ms)
    measured = {workload for workload, value in profile.network_ms.items() if value.evidence == "measured"}
    assert measured == IN_THE_TABLES


def test_the_gpu_is_faster_than_the_cpu_on_every_workload() -> None:
    for one, other in (("edge-gpu", "cloud-cpu"), ("edge-gpu", "desktop-cpu"), ("cloud-gpu", "cloud-cpu")):
        gpu, cpu = load_server(one), load_server(other)
        for workload in WORKLOADS[:3]:
            assert gpu.network_ms[workload].value < cpu.network_ms[workload].value


@pytest.mark.parametrize("name", list_servers())
def test_tails_shrink_from_the_whole_network_to_nothing(name: str) -> None:
    model = ServerModel(load_server(name), Card())
    assert model.tail_ms.dtype == np.float64
    assert model.tail_ms.shape == (5,)
    assert model.tail_ms[0] == pytest.approx(load_server(name).network_ms["resnet50"].value)
    assert model.tail_ms[-1] == 0.0
    assert np.all(np.diff(model.tail_ms) <= 0.0)
    assert model.tail_ms[2] == model.tail_ms[3]
    assert model.tail_ms[1] == pytest.approx(model.tail_ms[0] * 7.0 / 8.0)


def test_tails_cannot_be_changed_from_outside() -> None:
    model = ServerModel(load_server("edge-gpu"), Card())
    with pytest.raises(ValueError, match="read-only"):
        model.tail_ms[0] = 0.0


def test_an_unlisted_workload_is_scaled_by_flops_and_says_so() -> None:
    model = ServerModel(load_server("edge-gpu"), Card(name="my-net", flops=np.array([2e9, 2e9])))
    rate = load_server("edge-gpu").other_ms_per_gflop
    assert model.tail_ms[0] == pytest.approx(4.0 * rate.value)
    assert model.coefficients()["network_ms.my-net"].evidence == "assumed"
    assert model.coefficients()["network_ms.my-net"].range is not None


@pytest.mark.parametrize("flops", [[], [0.0, 0.0], [1.0, -1.0], [[1.0]], [np.nan]])
def test_a_card_without_work_is_refused(flops: list[float]) -> None:
    with pytest.raises(ConfigError, match="flops"):
        ServerModel(load_server("edge-gpu"), Card(flops=np.array(flops)))


@pytest.mark.parametrize("name", list_servers())
def test_load_has_the_stated_mean_and_autocorrelation(name: str) -> None:
    model = ServerModel(load_server(name), Card())
    load = model.profile.load
    step_ms = load.correlation_time_ms.value / 5.0
    bank = model.load_bank(200_000, step_ms, seed=3).astype(np.float64)
    assert bank.mean() == pytest.approx(load.mean_factor.value, rel=0.03)
    log_excess = np.log(bank - 1.0)
    assert log_excess.std() == pytest.approx(load.log_std.value, rel=0.03)
    lagged = np.corrcoef(log_excess[:-5], log_excess[5:])[0, 1]
    assert lagged == pytest.approx(np.exp(-1.0), abs=0.03)


def test_load_never_makes_a_server_faster_and_starts_stationary() -> None:
    model = ServerModel(load_server("cloud-cpu"), Card())
    firsts = np.array([model.load_bank(1, 100.0, seed)[0] for seed in range(2000)])
    assert np.all(firsts >= 1.0)
    assert firsts.mean() == pytest.approx(model.profile.load.mean_factor.value, rel=0.1)


def test_load_is_the_same_bits_for_the_same_arguments() -> None:
    model = ServerModel(load_server("edge-gpu"), Card())
    one, again = (model.load_bank(1000, 50.0, seed=7) for _ in range(2))
    assert one.dtype == np.float32
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != model.load_bank(1000, 50.0, seed=8).tobytes()


@pytest.mark.parametrize(("samples", "step_ms"), [(0, 50.0), (10, 0.0), (10, -1.0), (10, float("nan"))])
def test_load_of_no_time_is_refused(samples: int, step_ms: float) -> None:
    with pytest.raises(ConfigError, match="load_bank"):
        ServerModel(load_server("edge-gpu"), Card()).load_bank(samples, step_ms, seed=1)


def test_an_idle_server_has_factor_one() -> None:
    profile = load_server("edge-gpu")
    idle = profile.load.mean_factor.model_copy(update={"value": 1.0})
    quiet = profile.model_copy(update={"load": profile.load.model_copy(update={"mean_factor": idle})})
    assert np.all(ServerModel(quiet, Card()).load_bank(10, 50.0, seed=1) == 1.0)
    own = profile.model_copy(update={"load": None})
    assert np.all(ServerModel(own, Card()).load_bank(10, 50.0, seed=1) == 1.0)
    assert not any(name.startswith("load.") for name in own.coefficients())


def test_tails_measured_one_by_one_count_before_shares_of_flops() -> None:
    measured = {"image": 9.0, "a": 8.0, "b": 8.5, "c": 5.0}
    tails = MeasuredTails(tail_ms=measured, evidence="measured", source="toy")
    profile = load_server("edge-gpu").model_copy(update={"tails": {"resnet50": tails}})
    model = ServerModel(profile, Card())
    assert model.tail_ms.tolist() == [9.0, 8.5, 8.5, 5.0, 0.0]  # never rising
    assert not {"tail_share", "network_ms.resnet50"} & set(model.coefficients())
    partial = MeasuredTails(tail_ms={"a": 1.0}, evidence="measured", source="toy")
    with pytest.raises(ConfigError, match="no time after cut 'image'"):
        _ = ServerModel(profile.model_copy(update={"tails": {"resnet50": partial}}), Card()).tail_ms


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="'mainframe' is unknown; known are cloud-cpu, cloud-gpu, desktop-cpu, edge-gpu"
    ):
        load_server("mainframe")


def test_a_file_with_a_mistake_names_file_and_field(tmp_path: object) -> None:
    data = load_server("edge-gpu").model_dump(mode="json", exclude_none=True)
    data["load"]["mean_factor"]["value"] = 0.5
    path = Path(str(tmp_path)) / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=r"mine\.yaml: load: .*mean_factor: 0\.5 is below 1"):
        load_server(path)
