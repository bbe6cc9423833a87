"""Concepts against random directions, on a network where it is known what raises the score."""

import dataclasses
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import Stopped, UserError
from lib.explain.concept_directions import DirectionRequest, pointed_network, score_directions
from lib.explain.concept_images import ConceptImages, ConceptSource
from lib.explain.concepts import ConceptQuestion, measure_concepts
from tests.moved_run import KeptDataset, tuned_grader

GRADER = tuned_grader()
ABOUT = {"run_id": "r", "run_label": "R", "dataset": "tiny", "dataset_title": "Tiny", "class_name": "a"}


def source(*, num: int = 14) -> ConceptSource:
    """Concept "a": images of class a against those of class b. Concept "noise": some of both against others of both."""
    dataset = KeptDataset(num_images=4 * num)
    first, second = tuple(range(0, 4 * num, 2)), tuple(range(1, 4 * num, 2))
    mixed = tuple(range(2 * num)), tuple(range(2 * num, 4 * num))
    return ConceptSource(
        list(dataset.pixels),
        (ConceptImages("a/<b>", first[:num], second, "images of b"), ConceptImages("noise", *mixed, "others")),
        tuple(range(4 * num)),
    )


def request(target: int = 0, **changes: object) -> DirectionRequest:
    images = KeptDataset(num_images=20, seed=5).pixels[target::2]
    asked = DirectionRequest(GRADER.classifier, GRADER.inputs, source(), images, target, ("block4", "block5"),
                             num_counterparts=4, num_random=24)  # fmt: skip
    return dataclasses.replace(asked, **changes)


def test_the_points_leave_the_answer_and_have_the_gradient_of_the_pooled_output() -> None:
    classifier, stages = GRADER.classifier, ("block4", "block5")
    batch = GRADER.inputs.batch(KeptDataset(num_images=3).pixels)
    network = pointed_network(classifier, stages)
    with torch.no_grad():
        expected = classifier(batch)
    kept = {}

    def keep(module, inputs, output, name=""):
        kept[name] = output

    for name in stages:
        network.points[name].register_forward_hook(lambda *args, name=name: keep(*args, name=name))
    logits = network(batch.requires_grad_())
    assert torch.equal(logits, expected)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), kept["block4"], retain_graph=True)
    maps = classifier.forward_until(batch, "block4").detach().requires_grad_()
    (whole,) = torch.autograd.grad(classifier.forward_after(maps, "block4")[:, 0].sum(), maps)
    # To add to a channel at each place changes the answer by the sum of what each place changes.
    assert gradient.numpy() == pytest.approx(whole.sum((2, 3)).numpy(), rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_the_class_rises_towards_its_own_images_and_no_other_way() -> None:
    rises = {(one.name, stage): scores for one, stage, scores in score_directions(request(0), lambda *_: None)}
    falls = {(one.name, stage): scores for one, stage, scores in score_directions(request(1), lambda *_: None)}
    for stage in ("block4", "block5"):
        assert np.mean(rises["a/<b>", stage].concept) == 1.0
        assert np.mean(falls["a/<b>", stage].concept) == 0.0
        assert np.mean(rises["a/<b>", stage].separation) > 0.9
        assert np.mean(rises["noise", stage].separation) < 0.65
        assert rises["noise", stage].num_told == 28
        assert len(rises["noise", stage].random) == 24


@pytest.mark.slow
def test_the_test_says_so_is_kept_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    question = ConceptQuestion(request(), "digest", ABOUT)
    seen = []
    test = measure_concepts(question, progress=lambda *said: seen.append(said))
    rows = {(row.concept, row.stage): row for row in test.rows}
    assert rows["a/<b>", "block5"].is_shown
    assert rows["a/<b>", "block5"].score.value == 1.0
    # A set of images that show nothing in common has a direction of its own all the same: the t-test falls for it.
    assert rows["noise", "block5"].separation.low < 0.5
    assert not rows["noise", "block5"].is_shown
    assert rows["a/<b>", "block5"].p_value < 0.05
    assert (test.concepts, test.stages) == (("a/<b>", "noise"), ("block4", "block5"))
    assert all(done <= total for done, total, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    question.path.unlink()
    assert measure_concepts(question).to_dict() == test.to_dict()
    monkeypatch.setattr("lib.explain.concepts.score_directions", None)  # would fail
    assert measure_concepts(question).to_dict() == test.to_dict()
    other = ConceptQuestion(dataclasses.replace(request(), target=1), "digest", ABOUT)
    assert other.path != question.path


@pytest.mark.slow
def test_the_shared_network_is_left_as_it_was_and_no_file_stays(monkeypatch, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = {name: tensor.clone() for name, tensor in GRADER.classifier.state_dict().items()}

    def stop(done: int, total: int) -> None:
        if done > 0.9 * total:
            raise Stopped

    for report in (lambda *_: None, stop):
        try:
            score_directions(request(), report)
        except Stopped:
            assert report is stop
        assert not list(temporary.iterdir())
        for module in GRADER.classifier.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
            assert not module.training
        assert all(parameter.grad is None for parameter in GRADER.classifier.parameters())
        assert all(torch.equal(before[name], tensor) for name, tensor in GRADER.classifier.state_dict().items())


def test_threads_on_one_network_give_the_serial_answer() -> None:
    asked = request(num_counterparts=2, num_random=2, stages=("block5",))
    serial = [scores for *_, scores in score_directions(asked, lambda *_: None)]
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append([s for *_, s in score_directions(asked, lambda *_: None)]))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [serial] * 3


def test_what_cannot_be_tested_is_one_sentence() -> None:
    few = ConceptSource(source().pool, (ConceptImages("few", tuple(range(14)), tuple(range(20, 28)), "others"),),
                        tuple(range(56)))  # fmt: skip
    with pytest.raises(UserError, match="There are 8 counterparts for 'few'; it takes 10"):
        score_directions(request(source=few), lambda *_: None)
    with pytest.raises(UserError, match="has no stage 'block9'"):
        score_directions(request(stages=("block9",)), lambda *_: None)
    with pytest.raises(UserError, match="No image of that class is left to ask"):
        measure_concepts(ConceptQuestion(request(images=np.empty((0, 32, 32, 3), np.uint8)), "digest", ABOUT))
    neighbours = tuned_grader().classifier
    neighbours.head_options = {**neighbours.head_options, "name": "nearest_neighbors"}
    with pytest.raises(UserError, match="passes no gradient to the image"):
        measure_concepts(ConceptQuestion(request(classifier=neighbours), "digest", ABOUT))
