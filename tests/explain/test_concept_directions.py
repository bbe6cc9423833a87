"""Directions of concepts: the sets that are drawn, the points of a network, and how the score changes along them."""

import dataclasses
import math
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import Stopped, UserError
from lib.explain import concept_directions
from lib.explain.concept_directions import pointed_network, score_directions
from lib.explain.concept_images import ConceptImages, ConceptSource
from lib.models.classifier import build_classifier
from lib.models.stages import build_backbone
from tests.explain.concept_request import GRADER, concept_source, direction_request
from tests.models.timm_families import described_once, random_images  # noqa: F401 (a fixture)
from tests.moved_run import KeptDataset


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


def test_what_is_added_to_a_point_of_tokens_is_added_to_those_that_were_pooled() -> None:
    classifier = build_classifier(build_backbone("timm:test_vit", weights="random"), head="linear", num_classes=2)
    images = random_images(classifier.spec, 1)
    network = pointed_network(classifier.eval(), ("blocks_0",))  # its class token
    change = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    network.points["blocks_0"].register_forward_hook(lambda module, inputs, output: output + change)
    with torch.no_grad():
        tokens = classifier.forward_until(images, "blocks_0")
        tokens[:, 0] += change
        expected = classifier.forward_after(tokens, "blocks_0")
        assert torch.allclose(network(images), expected, atol=1e-5)
        assert not torch.allclose(classifier(images), expected, atol=1e-3)


def test_sets_of_a_concept_are_of_one_size_and_random_pairs_share_no_image() -> None:
    several = ConceptSource([], (ConceptImages("a", tuple(range(30)), tuple(range(30, 54)), ""),
                                 ConceptImages("b", tuple(range(9)), tuple(range(40, 90)), "")),
                            tuple(range(200)))  # fmt: skip
    request = direction_request(source=several, num_counterparts=3, num_random=5)
    sets = concept_directions._image_sets(request)
    first, second, rest = sets[:4], sets[4:8], sets[8:]
    assert [len(one) for one in first] == [12] * 4  # half of the others
    assert [len(one) for one in second] == [9] * 4
    assert set(first[0]) <= set(range(30))
    assert all(set(one) <= set(range(30, 54)) for one in first[1:])
    assert len({tuple(sorted(one)) for one in first[1:]}) == 3
    assert len(rest) == 10
    for left, right in zip(rest[::2], rest[1::2], strict=True):
        assert len({*left, *right}) == len(left) + len(right) == 18  # of the smallest concept
    assert concept_directions._image_sets(request) == sets
    assert concept_directions._image_sets(dataclasses.replace(request, seed=1)) != sets


def test_outputs_of_the_pool_are_in_its_order_whatever_the_side_of_a_square() -> None:
    pool = [*KeptDataset(num_images=18).pixels, np.full((50, 50, 3), 200, np.uint8)]
    request = direction_request(source=dataclasses.replace(concept_source(), pool=pool))
    network, told = pointed_network(GRADER.classifier, ("block5",)), []
    found = concept_directions._pooled_outputs(request, network, ["points.block5"], lambda *said: told.append(said))[
        "points.block5"
    ]
    assert told == [(0, 19), (16, 19)]
    with torch.no_grad():
        for place in (0, 17, 18):
            maps = GRADER.classifier.forward_until(GRADER.inputs.batch(pool[place][None]), "block5")
            assert found[place].numpy() == pytest.approx(maps.mean((2, 3))[0].numpy(), abs=1e-5)


def test_a_direction_leads_from_the_others_to_the_concept() -> None:
    generator = torch.Generator().manual_seed(0)
    apart = torch.randn(40, 3, generator=generator)
    labels = torch.arange(40) % 2 * 4 + 1  # sets 1 and 5
    apart[labels == 5, 1] += 8
    apart[:, 2] = 100 * apart[:, 1]
    finder = concept_directions._direction_finder(0, judged=10)
    accuracy = finder.train_and_eval([(apart[:20], labels[:20]), (apart[20:], labels[20:])])["accs"]
    assert finder.classes() == [1, 5]
    of_first, of_second = finder.weights()
    assert torch.equal(of_first, -of_second)
    assert of_second[1] > of_second[0].abs()
    assert float(of_second[1] / of_second[2]) == pytest.approx(100, rel=1e-3)  # in the network's own units
    assert accuracy == 1.0
    # Between random sets nobody asks how well they are told apart.
    assert math.isnan(concept_directions._direction_finder(0, judged=5).train_and_eval([(apart, labels)])["accs"])


@pytest.mark.slow
def test_the_class_rises_towards_its_own_images_and_no_other_way() -> None:
    rises = {
        (one.name, stage): scores for one, stage, scores in score_directions(direction_request(0), lambda *_: None)
    }
    falls = {
        (one.name, stage): scores for one, stage, scores in score_directions(direction_request(1), lambda *_: None)
    }
    for stage in ("block4", "block5"):
        assert np.mean(rises["a/<b>", stage].concept) == 1.0
        assert np.mean(falls["a/<b>", stage].concept) == 0.0
        assert np.mean(rises["a/<b>", stage].separation) > 0.9
        assert np.mean(rises["noise", stage].separation) < 0.65
        assert rises["noise", stage].num_told == 28
        assert len(rises["noise", stage].random) == 24


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
            score_directions(direction_request(), report)
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
    asked = direction_request(num_counterparts=2, num_random=2, stages=("block5",))
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


def test_too_few_counterparts_and_unknown_stages_are_one_sentence() -> None:
    short = ConceptImages("few", tuple(range(14)), tuple(range(20, 28)), "others")
    few = ConceptSource(concept_source().pool, (short,), tuple(range(56)))
    with pytest.raises(UserError, match="There are 8 counterparts for 'few'; it takes 10"):
        score_directions(direction_request(source=few), lambda *_: None)
    with pytest.raises(UserError, match="has no stage 'block9'"):
        score_directions(direction_request(stages=("block9",)), lambda *_: None)
