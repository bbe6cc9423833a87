import numpy as np
import pytest
import torch

from lib.errors import UserError
from lib.evaluation.verdict import GRADED, UNLIKE, Verdict, decide
from lib.explain.targets import Target, as_target, closed_targets, find_class, parse_target, target_scores

NAMES = ("No DR", "Mild", "cat", "Katze", "großer Hund")
LOGITS = torch.tensor([[0.0, np.log(2.0), np.log(5.0)]])  # probabilities 1/8, 2/8, 5/8


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Mild", Target("class", 1)),
        ("mild", Target("class", 1)),
        ("CAT", Target("class", 2)),
        ("4", Target("class", 4)),
        ("Großer Hund", Target("class", 4)),
        ("Mild - cat", Target("difference", 1, 2)),
        ("1 − 2", Target("difference", 1, 2)),
        ("expected", Target("expected")),
        (">=2", Target("at_or_above", 2)),
        ("≥ Katze", Target("at_or_above", 3)),
        ("predicted", Target("predicted")),
        (" true ", Target("true")),
    ],
)
def test_words(text: str, target: Target):
    found = parse_target(text, NAMES)
    assert found == target
    assert parse_target(found.to_text(), NAMES) == target


def test_names_go_first():
    assert as_target("1", ("0", "2", "1")) == Target("class", 2)  # a class that is called "1" wins over number 1
    names = ("expected", "a - b", "a", "b", "c - d")
    assert parse_target("expected", names) == Target("class", 0)
    assert parse_target("a - b", names) == Target("class", 1)
    assert parse_target("b - c - d", names) == Target("difference", 3, 4)


def test_numbers_of_any_integer_type():
    for value in (3, np.int64(3), np.uint8(3), torch.tensor(3)):
        assert as_target(value) == Target("class", 3)
        assert closed_targets(value, torch.zeros(2, 5)) == (Target("class", 3),) * 2
    assert closed_targets(np.array([1, 4]), torch.zeros(2, 5)) == (Target("class", 1), Target("class", 4))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Katz", r"no class 'Katz' among the 5 classes\. Did you mean 'Katze'\?"),
        ("5", "no class number 5: choose 0 to 4"),
        ("cat - cat", "difference of class 2 to itself"),
        (">=0", "at grade 0 or above"),
        (">=7", "choose 0 to 4"),
    ],
)
def test_what_is_refused(text: str, said: str):
    with pytest.raises(UserError, match=said):
        parse_target(text, NAMES)


def test_classes_without_an_order_have_no_grades():
    for text in ("expected", ">=2"):
        with pytest.raises(UserError, match="have no order"):
            parse_target(text, NAMES, is_ordinal=False)
    with pytest.raises(UserError, match="classes 0 to 2"):
        closed_targets(-1, LOGITS)
    with pytest.raises(ValueError, match="1 images need 1 target classes, received 2"):
        closed_targets([0, 1], LOGITS)


def test_scores_by_hand():
    scores = {
        "1": np.log(2.0),
        "2 - 1": np.log(2.5),
        "expected": (2 + 2 * 5) / 8,
        ">=1": 7 / 8,
        ">=2": 5 / 8,
    }
    for text, expected in scores.items():
        assert float(parse_target(text, "abc").score(LOGITS)[0]) == pytest.approx(expected, rel=1e-6)
    # The expected grade is 1.5; the limits lie at 0.4 and 1.2.
    above = Target("at_or_above", 2, limits=(0.4, 1.2))
    assert float(above.score(LOGITS)[0]) == pytest.approx(0.3, rel=1e-6)
    assert above.describe("abc") == 'expected grade above the limit to "c" (1.20)'
    mixed = target_scores((Target("class", 1), Target("expected")), LOGITS.repeat(4, 1))
    np.testing.assert_allclose(mixed, [np.log(2), 1.5, np.log(2), 1.5], rtol=1e-6)


def test_a_network_that_is_sure_still_has_a_gradient():
    logits = torch.tensor([[0.0, 0.0, 20.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Target("at_or_above", 2).score(logits).sum(), logits)
    # p (1 - p) with 1 - p = 2 exp(-20).
    assert float(gradient[0, 2]) == pytest.approx(2 * np.exp(-20), rel=1e-4)


def test_the_prediction_is_that_of_the_verdict():
    scores = LOGITS.softmax(1)[0].numpy()
    verdict = decide(scores, ("a", "b", "c"), limits=(0.4, 1.6))  # expected grade 1.5: grade 1, though 2 is likelier
    assert closed_targets(None, LOGITS) == (Target("class", 2),)
    assert closed_targets(None, LOGITS, verdicts=[verdict]) == (Target("class", 1),)
    for kind in (Target("expected"), Target("at_or_above", 2)):
        assert closed_targets(kind, LOGITS, verdicts=[verdict])[0].limits == (0.4, 1.6)
    by_probability = decide(scores, ("a", "b", "c"), seen=Verdict(status=GRADED))
    assert closed_targets(Target("at_or_above", 2), LOGITS, verdicts=[by_probability])[0].limits == ()
    refused = Verdict(status=UNLIKE, reason="Unlike the training images.")
    with pytest.raises(UserError, match="No class is given"):
        closed_targets(None, LOGITS, verdicts=[refused])
    assert closed_targets(1, LOGITS, verdicts=[refused]) == (Target("class", 1),)


def test_the_true_class_must_be_known():
    assert closed_targets(Target("true"), LOGITS, true_classes=[0]) == (Target("class", 0),)
    with pytest.raises(UserError, match="true class of this image is not known"):
        closed_targets(Target("true"), LOGITS, true_classes=[None])


def test_words_for_people():
    assert find_class("mild", NAMES) == 1
    said = [parse_target(text, NAMES).describe(NAMES) for text in ("1", "cat - Mild", "expected", ">=Mild", "true")]
    assert said == [
        'class "Mild"', 'class "cat" against "Mild"', "expected grade", 'probability of "Mild" or above', "true class",
    ]  # fmt: skip
