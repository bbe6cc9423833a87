import json

import numpy as np
import pytest
import torch

from lib.data.importing import import_folder
from lib.data.library import open_dataset
from lib.errors import Stopped, UserError
from lib.evaluation.comparison import compare_paired
from lib.grading.evaluation import evaluate_on
from lib.grading.fine_tuned import start_of
from lib.grading.grader import Grader
from lib.grading.stage_resets import ResetQuestion, measure_resets, with_stages_of
from lib.models.classifier import build_classifier
from lib.models.stages import Backbone
from tests.moved_run import TRAINED, KeptDataset, manifest_of, save_run, seen_in, tuned_classifier, tuned_grader


def question(**config: object) -> ResetQuestion:
    dataset = KeptDataset(num_images=80)
    return ResetQuestion(tuned_grader(dataset, **config), dataset, "Tuned")


def test_only_the_named_stages_are_those_of_the_start_and_nothing_shared_is_touched() -> None:
    grader = tuned_grader()
    classifier, start = grader.classifier, start_of(grader).build()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    modules = list(classifier.modules())
    mixed = with_stages_of(classifier, start, ["block5"])
    for name, tensor in mixed.state_dict().items():
        other = start.state_dict()[name.removeprefix("stages.")] if name.startswith("stages.block5.") else before[name]
        assert torch.equal(tensor, other)
    changed = [name for name, tensor in mixed.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed
    assert all(name.startswith("stages.block5.") for name in changed)
    assert [*classifier.modules()] == modules
    assert not {id(module) for module in mixed.modules()} & {id(module) for module in modules}
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
    own = {tensor.data_ptr() for tensor in classifier.parameters()}
    assert all(tensor.data_ptr() in own for tensor in mixed.head.parameters())  # shared, not copied
    with pytest.raises(UserError, match=r"has no stage 'block9'\. Choose one of: block1, block2"):
        with_stages_of(classifier, start, ["block9"])


def test_a_reset_is_the_evaluation_of_the_mixed_network_paired_with_the_run() -> None:
    asked = question()
    table = measure_resets(asked, [["block5"], ["block5", "block4"], ["block1"]])
    dataset, rows, targets = asked.images
    own, _ = asked.grader.scores(dataset.pixels[rows])
    mixed = with_stages_of(asked.grader.classifier, start_of(asked.grader).build(), ["block5"])
    found, _ = Grader(mixed, asked.grader.manifest, device="cpu").scores(dataset.pixels[rows])
    row = table.find(["block5"])
    pair = compare_paired(targets, own, found)
    assert (row.cost.value, row.cost.low, row.p_value) == (pair.difference, pair.low, pair.p_value)
    assert row.accuracy == np.mean(found.argmax(1) == targets)
    assert row.num_changed == int((own.argmax(1) != found.argmax(1)).sum())
    assert table.find(["block4", "block5"]).stages == ("block4", "block5")  # in the network's order
    frozen = table.find(["block1"])  # it never moved: to put it back changes nothing
    assert (frozen.num_changed, frozen.cost.value, frozen.score) == (0, 0.0, table.score)
    result = evaluate_on(asked.grader, asked.dataset)
    assert (table.score.value, table.accuracy) == (result["accuracy"], result["accuracy"])
    assert (table.score.low, table.score.high) == (result["accuracy_low"], result["accuracy_high"])
    assert table.num_images == result["num"] == table.num_units
    assert asked.each_in_turn() == (("block5",), ("block4",), TRAINED)


def test_all_stages_put_back_need_the_old_head_and_lose() -> None:
    asked = question()
    table = measure_resets(asked, asked.each_in_turn())
    assert table.score.value == 1.0  # the classes differ by a tint, and four steps are enough
    assert table.find(TRAINED).score.value < 1.0


def test_resets_are_kept_and_the_run_itself_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, passes = question(), []

    def progress(done: int, total: int, what: str) -> None:
        assert 0 <= done < total
        passes.append(what)

    first = measure_resets(asked, [["block5"]], progress=progress)
    assert "test images through the run's network" in passes
    passes.clear()
    second = measure_resets(asked, [["block5"], ["block4"]], progress=progress)
    assert set(passes) == {"test images with block4 put back"}
    assert second.find(["block5"]) == first.find(["block5"])
    monkeypatch.setattr(Grader, "scores", None)  # would fail
    assert measure_resets(asked, [["block4"]]).to_dict() == second.to_dict()
    assert asked.kept().to_dict() == second.to_dict()
    asked.path.write_text(json.dumps({"format_version": 0}))
    assert asked.kept() is None
    assert ResetQuestion(tuned_grader(run="other"), KeptDataset(num_images=60)).path != asked.path


def test_it_stops_and_keeps_the_resets_that_were_ready() -> None:
    asked = question()

    def listener(done: int, total: int, what: str) -> None:
        if "block4" in what:
            raise Stopped

    with pytest.raises(Stopped):
        measure_resets(asked, [["block5"], ["block4"]], progress=listener)
    assert [row.stages for row in asked.kept().rows] == [("block5",)]
    with pytest.raises(Stopped):
        measure_resets(asked, [["block4"]], should_stop=lambda: True)


def test_ordered_grades_are_scored_by_kappa_and_patients_stay_together() -> None:
    dataset = KeptDataset(num_images=90, num_classes=3)
    dataset.spec = type(dataset.spec)(**{**vars(dataset.spec), "is_ordinal": True})
    dataset.table["group_id"] = [f"p{row // 3}" for row in range(90)]
    split = np.repeat(["train"] * 15 + ["test"] * 15, 3)
    dataset.split = lambda *_, **__: split
    source = tuned_classifier()
    body = Backbone(source.spec, source.stages, weights="pretrained")
    three = build_classifier(body, head="linear", num_classes=3, feature_stage="pool", seed=1).eval()
    grader = Grader(three, manifest_of(dataset), seen=seen_in(dataset), run="r", device="cpu")
    table = measure_resets(ResetQuestion(grader, dataset), [["block5"]])
    assert table.metric == "quadratic_weighted_kappa"
    assert (table.num_images, table.num_units) == (45, 15)
    assert np.isfinite(table.rows[0].cost.value)


def test_a_run_with_folds_has_no_new_image_of_its_own() -> None:
    dataset = KeptDataset(num_images=80)
    grader = tuned_grader(dataset, num_folds=4)
    ids = dataset.table["image_id"]
    grader.seen = type(grader.seen).of(ids, ())
    with pytest.raises(UserError, match="trained or tuned on all 80 images of 'tiny'"):
        measure_resets(ResetQuestion(grader, dataset), [["block5"]])


def test_unknown_stages_are_refused_before_anything_runs() -> None:
    with pytest.raises(UserError, match="has no stage 'head'"):
        measure_resets(question(), [["head"]])


@pytest.mark.slow
def test_a_run_of_the_store_on_its_data_set(tmp_path) -> None:
    grader = Grader.open(save_run(tmp_path / "tinted"), device="cpu")
    table = measure_resets(ResetQuestion(grader, open_dataset("tinted")), [TRAINED])
    assert table.run_id == grader.run
    assert table.find(TRAINED).num_changed > 0
    import_folder(tmp_path / "tinted", name="copy")  # the same files under another name: most were seen in training
    other = measure_resets(ResetQuestion(grader, open_dataset("copy")), [TRAINED])
    assert other.num_images == table.num_images
