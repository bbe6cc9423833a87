from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lib.explain.network import evaluation_view
from lib.explain.question import Question
from lib.explain.targets import closed_targets
from tests.explain.tiny import TinyNetwork, tiny_batch


@pytest.fixture
def question() -> Question:
    network = TinyNetwork().requires_grad_(False)
    return Question(network, tiny_batch(2), partial(closed_targets, [1, 4]), "middle")


def test_answers_are_those_of_the_images_in_turn(question: Question):
    logits = question.network(question.images)
    torch.testing.assert_close(question.scores, torch.stack([logits[0, 1], logits[1, 4]]))
    torch.testing.assert_close(question.answers(question.images.repeat(3, 1, 1, 1)), question.scores.repeat(3))


def test_output_and_gradient_of_the_stage(question: Question):
    with evaluation_view(question.network):
        gradient = question.gradient
    h = question.network.forward_until(question.images, "middle").requires_grad_()
    logits = question.network.forward_after(h, "middle")
    (expected,) = torch.autograd.grad(logits[0, 1] + logits[1, 4], h)
    torch.testing.assert_close(question.activation, h)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(question.logits, logits)  # from the same pass


def test_one_of_the_images(question: Question):
    one = question.of_image(1)
    assert one.targets == (question.targets[1],)
    assert torch.equal(one.images, question.images[1:])
    torch.testing.assert_close(one.scores, question.scores[1:])


def test_baselines_by_hand():
    image = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    network = TinyNetwork()
    network.spec = SimpleNamespace(mean=(0.5, 0.5, 0.75), std=(0.5, 0.25, 0.25))
    question = Question(network, image, closed_targets)
    assert not question.baseline("mean").any()
    assert question.baseline("black")[0, :, 5, 7].tolist() == [-1.0, -2.0, -3.0]
    torch.testing.assert_close(question.baseline("blurred"), image.contiguous())  # each colour is even already
    spot = torch.zeros(1, 3, 32, 32)
    spot[..., 16, 16] = 1.0
    blurred = Question(TinyNetwork(), spot, closed_targets).baseline("blurred")
    assert 0 < float(blurred.max()) < 0.05


def test_progress_is_told_where_a_total_is_known(question: Question):
    heard = []
    question.progress, question.num_expected, question.title = lambda *said: heard.append(said), 3, "X"
    question.answers(question.images)
    question.answers(question.images)
    assert heard == [(2, 3, "X"), (3, 3, "X")]
