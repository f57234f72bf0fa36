"""Head and tail together are the network, at every cut there is."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from dvfo_controller.split.cutting import Network
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_env.errors import SplitError
from tests.split.models import example, shape_reading_network, small_network


def directly(model: bytes, image: np.ndarray, name: str = "image") -> list[np.ndarray]:
    """The whole model as onnxruntime runs it."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {name: image})


@pytest.mark.parametrize("two_answers", [False, True])
def test_head_and_tail_equal_the_whole_network_at_every_cut(two_answers: bool) -> None:
    model = small_network(two_answers=two_answers)
    engine = Engine(model)
    image = example()
    expected = directly(model, image)
    cuts = engine.network.cuts()
    assert len(cuts) > 10
    assert any(len(cut.tensors) > 1 for cut in cuts)
    assert any(cut.answers and cut.tensors for cut in cuts) == two_answers
    for cut in cuts:
        head = engine.head(cut, image)
        outputs = engine.in_order(head.answers | engine.run_tail(cut, head.tensors))
        for found, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6, err_msg=cut.name)


def test_what_depends_on_shapes_alone_and_subgraphs_survive_a_cut() -> None:
    model = shape_reading_network()
    engine = Engine(model)
    image = example(size=4)
    for cut in engine.network.cuts():
        head = engine.head(cut, image)
        (found,) = engine.in_order(head.answers | engine.run_tail(cut, head.tensors))
        np.testing.assert_array_equal(found, directly(model, image)[0])


def test_a_cut_may_be_named_by_its_tensors() -> None:
    engine = Engine(small_network())
    assert engine.cut("residual").tensors == ("residual",)
    assert engine.cut(("left.r", "right.r")).name == "left.r,right.r"
    assert engine.cut(()) == engine.network.last
    assert engine.cut("image").tensors == engine.network.first.tensors


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (("nowhere",), "has no tensor 'nowhere'"),
        (("inner.r",), "no output can be computed"),  # the residual's other branch goes around it
        (("residual", "stem.r"), "nothing after it reads 'stem.r'"),
        (("residual", "residual"), "twice"),
        (("stem.w",), "has no tensor"),
    ],
)
def test_what_is_no_cut_is_refused_in_one_line(tensors: tuple[str, ...], reason: str) -> None:
    with pytest.raises(SplitError, match=reason) as caught:
        Engine(small_network()).cut(tensors)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [b"", b"no model", b"\x08\x01", small_network()[:500]])
def test_what_is_no_model_is_refused(model: bytes) -> None:
    with pytest.raises(SplitError):
        Network(model)


def test_an_early_answer_stays_on_the_device() -> None:
    engine = Engine(small_network(two_answers=True))
    joined = next(cut for cut in engine.network.cuts() if cut.tensors == ("joined",))
    assert joined.answers == ("early",)
    assert engine.network.rest(joined) == ("logits",)
    assert engine.cut("joined").answers == ("early",)
    assert engine.cut("residual").answers == ()  # it can be had from what crosses


def test_threads_and_cores_do_not_change_the_answer() -> None:
    engine = Engine(small_network())
    image = example()
    expected = engine.run_whole(image)
    for mapping in (Mapping(1), Mapping(2), Mapping(1, (0,))):
        tensors = engine.run_head("residual", image, mapping)
        (found,) = engine.in_order(engine.run_tail("residual", tensors, mapping))
        np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-6)


def test_sessions_are_bounded_and_made_in_the_background() -> None:
    engine = Engine(small_network(), most_sessions=3)
    for cut in engine.network.cuts():
        for future in engine.prepare(cut):
            future.result(timeout=30)
    assert len(engine._sessions) == 3
    assert engine.run_whole(example())[0].shape == (1, 10)


@pytest.mark.slow
def test_mobilenet_v2_is_the_same_at_every_cut_and_its_card_names_them(tmp_path: Path) -> None:
    import torch

    from dvfo_env.workloads import load_workload
    from dvfo_env.workloads.networks import build_network
    from dvfo_export.split_plan import named_cuts

    file = tmp_path / "mobilenet-v2.onnx"
    network = build_network("mobilenet-v2").eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own use of what torch has deprecated
        torch.onnx.export(network, (torch.rand(1, 3, 224, 224),), file, dynamo=True, verbose=False)
    model = onnx.load(file).SerializeToString()  # weights inside
    file.write_bytes(model)
    engine = Engine(model, most_sessions=8)
    image = example(size=224)
    (expected,) = directly(model, image, engine.network.input)
    card = load_workload("mobilenet-v2")
    cuts = (*engine.network.cuts(), *named_cuts(file, card))
    assert len(cuts) > 100
    assert tuple(cut.name for cut in cuts[-len(card.cuts) :]) == card.cut_names
    for cut in cuts:
        head = engine.head(cut, image)
        (found,) = engine.in_order(head.answers | engine.run_tail(cut, head.tensors))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=cut.name)
