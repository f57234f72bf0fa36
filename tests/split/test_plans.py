"""Split plans: the card's names, calibrations that both sides share, and what is not the same is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dvfo_controller.split.client import SplitClient
from dvfo_controller.split.engine import Engine
from dvfo_controller.split.plan import SplitPlan, read_plan
from dvfo_controller.split.server import SplitServer, serving
from dvfo_env.errors import SplitError
from dvfo_env.workloads.card import WorkloadCard
from dvfo_env.workloads.own import card_of_onnx
from dvfo_export.split_plan import TO_ONE, make_split_plan, named_cuts, smooth_images
from tests.split.models import example, small_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its plan."""
    made = tmp_path_factory.mktemp("plan")
    (made / "small.onnx").write_bytes(small_network())
    return made


@pytest.fixture(scope="module")
def card(folder: Path) -> WorkloadCard:
    """The card of the model."""
    return card_of_onnx(folder / "small.onnx", "small")


@pytest.fixture(scope="module")
def plan(folder: Path, card: WorkloadCard) -> SplitPlan:
    """The plan of the model."""
    images = [example(seed) for seed in range(6)]
    return make_split_plan(folder / "small.onnx", card, images, folder / "small.split", TO_ONE, bits=(8, 4))


def test_cuts_have_the_names_and_the_sizes_of_the_card(plan: SplitPlan, card: WorkloadCard) -> None:
    engine = Engine(small_network(), plan)
    assert tuple(cut.name for cut in plan.cuts) == card.cut_names
    for cut, listed in zip(plan.cuts, card.cuts, strict=True):
        assert [spec.shape[1:] for spec in engine.tensors(cut)] == [tensor.shape for tensor in listed.tensors]
        head = engine.head(cut.name, example())
        (found,) = engine.in_order(head.answers | engine.run_tail(cut.name, head.tensors))
        np.testing.assert_allclose(found, engine.run_whole(example())[0], rtol=1e-5, atol=1e-6)


def test_a_model_with_two_answers_keeps_the_early_one_on_the_device(tmp_path: Path) -> None:
    file = tmp_path / "two.onnx"
    file.write_bytes(small_network(two_answers=True))
    cuts = named_cuts(file, card_of_onnx(file, "two"))
    assert {cut.answers for cut in cuts} >= {(), ("early", "logits")}
    engine = Engine(file.read_bytes())
    for cut in cuts:
        head = engine.head(cut, example())
        outputs = engine.in_order(head.answers | engine.run_tail(cut, head.tensors))
        for found, wanted in zip(outputs, engine.run_whole(example()), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_fewer_bits_send_fewer_bytes_and_cost_accuracy(plan: SplitPlan) -> None:
    engine = Engine(small_network(), plan)
    with (
        serving(SplitServer(Engine(small_network(), plan))) as address,
        SplitClient(engine, address, timeout_ms=5000) as client,
    ):
        client.wait_connected()
        expected = engine.run_whole(example())[0]
        for cut in plan.cuts[:-1]:
            names = ("fp32-keep1-none", "fp16-keep1-none", "int8-keep1-none", "int4-keep1-none")
            answers = [client.request(example(), cut.name, codec_name=name) for name in names]
            assert {answer.where for answer in answers} == {"server"}
            sent = [answer.sent_bytes for answer in answers[1:]]
            if sum(spec.bytes for spec in engine.tensors(cut)) > 1000:  # less is all headers
                assert sent == sorted(sent, reverse=True)
            errors = [np.abs(answer.outputs[0] - expected).max() for answer in answers]
            assert errors[0] < 1e-5
            assert errors[2] < 0.1 * np.abs(expected).max()


def test_the_raw_image_goes_through_image_codecs(plan: SplitPlan) -> None:
    engine = Engine(small_network(), plan)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    with (
        serving(SplitServer(Engine(small_network(), plan))) as address,
        SplitClient(engine, address, timeout_ms=5000) as client,
    ):
        client.wait_connected()
        answer = client.request(image, plan.cuts[0].name, codec_name="png")
        assert answer.where == "server", answer.why
        assert answer.phases_ms["encode"] > 0
        assert answer.phases_ms["send"] > 0
        np.testing.assert_allclose(answer.outputs[0], engine.run_whole(image)[0], atol=1e-5)
        assert client.request(image, plan.cuts[0].name, codec_name="jpeg-q50").where == "server"


def test_another_plan_is_refused(plan: SplitPlan) -> None:
    with (
        serving(SplitServer(Engine(small_network(), plan))) as address,
        SplitClient(Engine(small_network()), address) as client,
        pytest.raises(SplitError, match="split plan"),
    ):
        client.wait_connected(0.5)


def test_a_plan_reads_back_and_says_what_it_was_calibrated_on(folder: Path, plan: SplitPlan, card) -> None:
    again = read_plan(folder / "small.split")
    assert (again.digest, again.cuts, again.scaling) == (plan.digest, plan.cuts, TO_ONE)
    assert again.calibrated_on == "6 images"
    smooth = make_split_plan(folder / "small.onnx", card, None, folder / "smooth.split", bits=(8,))
    assert smooth.calibrated_on == "16 smooth random images"
    assert smooth_images((3, 16, 16), 1)[0].shape == (1, 3, 16, 16)


@pytest.mark.parametrize("file", ["split.json", "calibration-001.npz"])
def test_a_plan_that_was_changed_or_torn_is_refused(folder, plan, tmp_path, file) -> None:
    for name in (folder / "small.split").iterdir():
        (tmp_path / name.name).write_bytes(name.read_bytes())
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[: len(data) // 2])
    with pytest.raises(SplitError, match=file):
        read_plan(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(SplitError, match=file):
        read_plan(tmp_path)


def test_a_plan_of_another_model_is_refused(folder, plan, tmp_path) -> None:
    with pytest.raises(SplitError, match="is of model"):
        Engine(small_network(two_answers=True), plan)
    found = json.loads((folder / "small.split" / "split.json").read_text())
    found["format"] = "dvfo-split/2"
    (tmp_path / "split.json").write_text(json.dumps(found))
    with pytest.raises(SplitError, match="format"):
        read_plan(tmp_path)
