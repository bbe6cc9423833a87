import numpy as np
import pytest

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.grading.fine_tuned import (
    NothingMoved,
    concept_question,
    moved_stages,
    own_dataset,
    run_and_dataset,
    start_of,
)
from lib.models.stages import build_backbone
from tests.explain.test_concept_images import MaskedDataset, write
from tests.moved_run import BACKBONE, TRAINED, KeptDataset, save_run, tuned_grader

STAGES = ("block1", "block2", "block3", *TRAINED)


@pytest.mark.parametrize(
    ("strategy", "config", "expected"),
    [
        ("partial_finetuning", {}, TRAINED),
        ("partial_finetuning", {"unfreeze_from": "block5"}, ("block5",)),
        ("partial_finetuning", {"unfreeze_from": None}, ("block4", "block5")),  # the table's own
        ("full_finetuning", {"unfreeze_from": None}, STAGES),
        ("gradual_unfreezing", {"unfreeze_from": None}, STAGES),
        ("gradual_unfreezing", {"unfreeze_from": "block3"}, STAGES[2:]),
        ("from_scratch", {"unfreeze_from": None}, STAGES),
    ],
)
def test_what_a_training_could_move(strategy: str, config: dict, expected: tuple[str, ...]) -> None:
    assert moved_stages(tuned_grader(strategy=strategy, **config)) == expected


@pytest.mark.parametrize("strategy", ["linear_probe", "linear_svm", "feature_extraction", "nearest_neighbors"])
def test_a_probe_moved_nothing_by_design(strategy: str) -> None:
    with pytest.raises(
        NothingMoved, match=r"^Nothing moved, by design: the run 01234567 .* trained a head on the frozen"
    ):
        moved_stages(tuned_grader(strategy=strategy))


def test_a_strategy_of_another_version_and_a_run_without_network_are_one_sentence(home) -> None:
    with pytest.raises(UserError, match="trained by 'magic', which this program does not know"):
        moved_stages(tuned_grader(strategy="magic"))
    from lib.models.classifier import build_classifier

    grader = tuned_grader()
    grader.classifier = build_classifier(build_backbone("handcrafted", weights="random"), head="linear", num_classes=2)
    with pytest.raises(UserError, match="uses no network"):
        moved_stages(grader)


def test_the_start_is_the_published_network_and_reads_images_as_the_run_does() -> None:
    grader = tuned_grader()
    source = start_of(grader)
    published = build_backbone(BACKBONE).stages.state_dict()
    found = source.build().state_dict()
    assert list(source.build()) == list(grader.classifier.stages)  # no stage behind the one that the head reads
    assert all(np.array_equal(found[name], published[name]) for name in found)
    assert source.inputs == grader.inputs
    grader.manifest["network"] = {"base_digest": "0" * 64}
    with pytest.raises(UserError, match="started from other weights of Bundled VGG"):
        start_of(grader)


def test_a_random_start_is_drawn_again_from_its_seed() -> None:
    grader = tuned_grader(strategy="from_scratch", unfreeze_from=None)
    grader.classifier.weights, grader.classifier.seed, grader.manifest["network"] = "random", 3, {}
    found, again = (start_of(grader).build().state_dict() for _ in range(2))
    assert all(np.array_equal(found[name], again[name]) for name in found)
    grader.classifier.seed = 4
    other = start_of(grader).build().state_dict()
    assert not np.array_equal(found["block1.0.weight"], other["block1.0.weight"])


def test_a_run_is_opened_with_its_data_set_and_says_when_that_is_gone(tmp_path) -> None:
    run = save_run(tmp_path / "tinted")
    grader, dataset, label = run_and_dataset(run[:10], device="cpu")
    assert (grader.run, dataset.name, label) == (run, "tinted", "partial_finetuning of tinted")
    grader.manifest["dataset"] = {**grader.manifest["dataset"], "version": "0" * 16}
    with pytest.raises(UserError, match=r"^The data set 'tinted' that the run .* is gone or was imported anew\."):
        own_dataset(grader)
    grader.manifest["dataset"] = {"name": "lost", "version": "x"}
    with pytest.raises(UserError, match=r"--dataset NAME"):
        own_dataset(grader)
    with pytest.raises(UserError, match="no run 'ffff'"):
        run_and_dataset("ffff")
    probe = save_run(tmp_path / "tinted", "linear_probe")
    with pytest.raises(NothingMoved):
        run_and_dataset(probe)
    assert open_dataset("tinted").version == dataset.version


def test_concepts_are_asked_of_new_images_of_one_class(tmp_path) -> None:
    dataset = MaskedDataset(num_images=80)
    grader = tuned_grader(dataset)
    question = concept_question(grader, dataset, "lesions")
    is_test = dataset.split(0) == "test"
    expected = dataset.pixels[is_test & (dataset.table["target"] == 0).to_numpy()]
    assert np.array_equal(question.request.images, expected)
    assert question.about["class_name"] == "a"
    assert question.request.stages[-1] == "pool"
    named = concept_question(grader, dataset, "textures", target="B", stages=["block5"])
    assert (named.request.target, named.request.stages) == (1, ("block5",))
    assert question.path != named.path
    with pytest.raises(UserError, match="There is no class 'c'"):
        concept_question(grader, dataset, "lesions", target="c")
    with pytest.raises(UserError, match="has 3 images that can be read"):
        concept_question(grader, dataset, str(write(tmp_path / "few", 3)))
    only_b = KeptDataset(counts=(0, 40), name="other")
    only_b.table["image_id"] = [f"f{row:015x}" for row in range(40)]
    only_b.version, only_b.versions = "other", ("other",)
    with pytest.raises(UserError, match=r"No test image of 'other' shows 'a'; name another class"):
        concept_question(grader, only_b, "textures")
