"""Any model becomes a card: torch and ONNX agree, cuts count all that crosses, pieces compute the whole."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from dvfo_cli.main import main
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import load_workload
from dvfo_env.workloads.build import build_card
from dvfo_env.workloads.card import WorkloadCard
from dvfo_env.workloads.cuts import card_cuts, pareto_optimal
from dvfo_env.workloads.library import list_workloads
from dvfo_env.workloads.networks import NETWORKS, build_network, example_input
from dvfo_env.workloads.own import add_card, card_of_module, card_of_onnx, load_module
from dvfo_env.workloads.plot import plot_workload
from dvfo_env.workloads.segments import run_segments, split_module, split_onnx
from dvfo_env.workloads.tracing import catalogue_graph
from tests.workloads.by_hand import GRAPHS


class Small(nn.Module):
    """A stem, a residual block, attention over the pixels, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1))
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Dropout(), nn.Linear(32, 5))
        self.stem[1].bias.data.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.pool(torch.relu(x + self.branch(x)))
        tokens = x.flatten(2).transpose(1, 2)
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        return self.head(tokens.mean(1))


IMAGE = (1, 3, 16, 16)


def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def export(
    model: nn.Module, folder: Path, opset: int, shape: tuple[int, ...] = IMAGE, open_batch: bool = False
) -> Path:
    path = folder / f"model-{opset}.onnx"
    names = {"input_names": ["x"], "output_names": ["y"]}
    axes = {"dynamic_axes": {"x": {0: "batch", 2: "height"}}} if open_batch else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.zeros(shape),), path, opset_version=opset, dynamo=False, **names, **axes
        )
    return path


def seen(card: WorkloadCard) -> list[object]:
    """All of a card but names: positions and tensors of the cuts, FLOPs and bytes of the segments."""
    cuts = [(c.position, sorted(int(np.prod(tensor.shape)) for tensor in c.tensors)) for c in card.cuts]
    segments = [(s.flops, s.traffic_bytes_fp32, s.weight_bytes_fp32, s.ops) for s in card.segments]
    return [cuts, segments]


@pytest.mark.parametrize(
    "name", ["resnet50", "vgg19", "yolov3-tiny", pytest.param("inception-v4", marks=pytest.mark.slow)]
)
def test_tracing_gives_the_graph_written_by_hand(name: str) -> None:
    assert build_card(catalogue_graph(name)) == build_card(GRAPHS[name]())


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_card_meets_the_published_figures(name: str) -> None:
    card = load_workload(name)
    assert {check.quantity for check in card.checks} >= {"parameters"} or name == "yolov3-tiny"
    for check in card.checks:
        assert check.agrees, check


@pytest.mark.parametrize("opset", [14, 17, 18])
def test_cards_from_torch_and_from_onnx_agree_exactly(tmp_path: Path, opset: int) -> None:
    model = small()
    from_torch = card_of_module(model, torch.zeros(IMAGE), "small")
    from_onnx = card_of_onnx(export(model, tmp_path, opset), "small")
    assert seen(from_torch) == seen(from_onnx)
    assert from_torch.flops.sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "opset"),
    [("mobilenet-v2", 11), ("efficientnet-b0", 17), ("resnet18", 13), ("yolov3-tiny", 12), ("squeezenet", 9)],
)
def test_cards_of_the_catalogue_from_torch_and_from_onnx_agree_exactly(
    tmp_path: Path, name: str, opset: int
) -> None:
    model = build_network(name)
    shape = (1, *NETWORKS[name].input_shape)
    from_torch = card_of_module(build_network(name, device="meta"), torch.empty(shape, device="meta"), "n")
    from_onnx = card_of_onnx(export(model, tmp_path, opset, shape), "n")
    assert seen(from_torch) == seen(from_onnx)


@pytest.mark.parametrize("name", ["squeezenet", "yolov3-tiny"])
def test_segments_of_a_card_compute_what_the_network_does(name: str) -> None:
    model, image = build_network(name), example_input(name)
    before = image.clone()
    segments = split_module(model, image, load_workload(name).cuts)
    with torch.no_grad():
        whole = model(image)
        pieces = run_segments(segments, image)
    for one, other in zip(whole if isinstance(whole, tuple) else (whole,), pieces, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(image, before)


def test_a_model_can_be_split_between_any_two_operations() -> None:
    model, image = small(), torch.randn(IMAGE)
    every = range(int(card_of_module(model, image, "small").ops.sum()) + 1)
    segments = split_module(model, image, list(every))
    with torch.no_grad():
        assert torch.allclose(run_segments(segments, image)[0], model(image), atol=1e-6)
    assert max(len(segment.inputs) for segment in segments) > 1


def test_an_onnx_model_can_be_split_between_any_two_operations(tmp_path: Path) -> None:
    path = export(small(), tmp_path, 17)
    every = list(range(int(card_of_onnx(path, "small").ops.sum()) + 1))
    image = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
    tensors = {"x": image}
    for piece in split_onnx(path, every):
        onnx.checker.check_model(piece)
        session = onnxruntime.InferenceSession(piece.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        given = {entry.name: tensors[entry.name] for entry in session.get_inputs()}
        tensors |= dict(zip(names, session.run(names, given), strict=True))
    whole = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
        None, {"x": image}
    )
    assert np.allclose(tensors["y"], whole[0], atol=1e-6)


@pytest.mark.parametrize("cuts", [[0, 3], [1, 10], [0, 5, 5, 10], [0]])
def test_cuts_of_another_model_are_refused(cuts: list[int]) -> None:
    with pytest.raises(ConfigError, match="cuts: "):
        split_module(small(), torch.zeros(IMAGE), cuts)


def test_inside_a_residual_block_both_tensors_are_counted() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.second(torch.relu(self.first(x))) + x)

    segments = split_module(Block(), torch.zeros(1, 3, 4, 4), [0, 1, 2, 3])
    assert segments[1].inputs == ("image", "first")
    assert segments[2].inputs == ("image", "second")


def test_a_tensor_written_in_place_keeps_its_meaning() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            y = self.second(x)
            return x.relu_() + y + x

    model, image = InPlace().eval(), torch.randn(1, 3, 4, 4)
    every = list(range(int(card_of_module(model, image, "m").ops.sum()) + 1))
    with torch.no_grad():
        whole = model(image.clone())
        assert torch.allclose(run_segments(split_module(model, image, every), image)[0], whole)


@pytest.mark.parametrize("most", [3, 5, 9, 24])
def test_a_card_has_at_most_the_cuts_asked_for_and_keeps_the_pareto_optimal_ones(most: int) -> None:
    graph = GRAPHS["resnet50"]()
    kept = card_cuts(graph, most)
    assert len(kept) <= most
    assert (kept[0].position, kept[-1].position) == (0, len(graph.operations))
    best = pareto_optimal(tuple(card_cuts(graph)))
    if most < len(best):
        assert {cut.position for cut in kept[1:-1]} <= best


def test_a_card_added_is_found_by_name_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = export(small(), tmp_path, 17)
    assert main(["workloads", "add", str(path), "--name", "mine", "--max-cuts", "6", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["cuts"] <= 6
    assert load_workload("mine") == load_workload(written["path"])
    assert "mine" in list_workloads()
    assert main(["workloads", "add", str(path), "--name", "mine"]) == 2
    assert "'mine' is taken by" in capsys.readouterr().err
    assert main(["workloads", "add", str(path), "--name", "vgg19"]) == 2
    assert "taken by a shipped workload" in capsys.readouterr().err
    other = tmp_path / "elsewhere"
    assert main(["workloads", "add", str(path), "--name", "theirs", "--folder", str(other)]) == 0
    with pytest.raises(ConfigError, match="unknown"):
        load_workload("theirs")
    monkeypatch.setenv("DVFO_WORKLOADS", str(other))
    assert load_workload("theirs").name == "theirs"


def test_a_function_that_builds_a_module_gives_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mynet.py").write_text(
        "from torch.nn import *\ndef build():\n"
        "    return Sequential(Conv2d(3, 4, 3), ReLU(), MaxPool2d(2), Flatten(), Linear(36, 2))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model, example = load_module("mynet:build", (1, 3, 8, 8))
    card = card_of_module(model, example, "mynet")
    assert card.cut_names == ("input", "2", "4")
    assert card.flops.tolist() == [2 * 27 * 4 * 36, 2 * 36 * 2]
    assert card.parameters == 27 * 4 + 4 + 36 * 2 + 2
    with pytest.raises(ConfigError, match="gives no example input"):
        load_module("mynet:build")
    with pytest.raises(ConfigError, match="mynet:absent: AttributeError"):
        load_module("mynet:absent")
    with pytest.raises(ConfigError, match="ModuleNotFoundError"):
        load_module("nowhere:build")


def test_open_dimensions_are_asked_for(tmp_path: Path) -> None:
    path = export(small(), tmp_path, 17, open_batch=True)
    with pytest.raises(ConfigError, match=r"dimension 2 \(height\) is open; give the whole shape"):
        card_of_onnx(path, "small")
    assert card_of_onnx(path, "small", IMAGE).input_shape == IMAGE[1:]
    with pytest.raises(ConfigError, match="dimension 3 is fixed to 16, 20 was asked for"):
        card_of_onnx(path, "small", (1, 3, 16, 20))


def test_what_cannot_become_a_card_is_refused_in_one_line(tmp_path: Path) -> None:
    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x)

    class Depends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if x.sum() > 0 else x

    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    nonzero = tmp_path / "nonzero.onnx"
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("NonZero", ["x"], ["y"])],
        "g",
        [value("x", onnx.TensorProto.FLOAT, [1, 4])],
        [value("y", onnx.TensorProto.INT64, None)],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), nonzero)
    cases = [
        (lambda: card_of_onnx(tmp_path / "absent.onnx", "n"), "absent.onnx: no such file"),
        (lambda: card_of_onnx(broken, "n"), "is not a readable ONNX model"),
        (lambda: card_of_onnx(nonzero, "n"), "shape depends on values"),
        (lambda: card_of_module(Single(), torch.zeros(1, 4), "n"), "no valid cut"),
        (lambda: card_of_module(Depends(), torch.zeros(1, 4), "n"), "torch.export cannot trace it"),
        (lambda: card_of_module(small(), torch.zeros(2, 3, 16, 16), "n"), "first dimension is the batch"),
        (lambda: card_of_module(small(), torch.zeros(IMAGE), "n", max_cuts=2), "max_cuts: 2 leaves nothing"),
        (lambda: add_card(load_workload("vgg19"), tmp_path), "taken by a shipped workload"),
    ]
    for run, message in cases:
        with pytest.raises(ConfigError) as error:
            run()
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_a_picture_of_a_card_is_drawn(tmp_path: Path) -> None:
    assert plot_workload(load_workload("vit-b16"), tmp_path / "vit-b16.svg").stat().st_size > 10_000
    with pytest.raises(ConfigError, match=r"cannot be written|not supported"):
        plot_workload(load_workload("vgg19"), tmp_path / "vgg19.nothing")


def test_the_help_says_that_code_is_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvfo_cli", "workloads", "--help"], capture_output=True, text=True, check=True
    )
    assert "it runs the code in it" in done.stdout


def test_quartznet_reads_as_many_weights_as_the_open_model_zoo_says() -> None:
    # "MParams 18.8857" in models/public/quartznet-15x5-en: batch norm folded into weights and biases
    assert load_workload("quartznet-15x5").weight_bytes.sum() / 4 == pytest.approx(18.8857e6, abs=50)
