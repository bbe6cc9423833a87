import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from lib import cli, tracking
from lib.grading.external import external_answers, external_results
from lib.models.seen_images import SEEN_FILE
from tests import quick_network
from tests.cli.conftest import TRAIN, write_classes, write_images
from tests.run_store import make_run_store


def test_evaluate_counts_test_images_of_its_own_set_and_all_of_another(command, trained, tmp_path):
    own = json.loads(command("evaluate", "--run", tracking.list_runs()[0].run_id, "--dataset", "colours", "--json").out)
    assert (own["images"], own["num"], own["note"]) == ("test", 4, "")
    assert own["accuracy_low"] < own["accuracy"] <= own["accuracy_high"]

    other = write_images(tmp_path / "other", per_class=5, seed=1)
    answer = json.loads(command("evaluate", "--run", tracking.list_runs()[0].run_id, "--dataset", other, "--json").out)
    assert (answer["images"], answer["num"], answer["num_seen_left_out"]) == ("all", 10, 0)


def test_evaluate_refuses_other_classes(command, trained, tmp_path):
    other = write_images(tmp_path / "other", seed=2)
    (other / "cold").rename(other / "tepid")
    answer = command("evaluate", "--run", "latest", "--dataset", other)
    assert answer.status == 2
    assert "the class 'tepid', which the classifier does not know (it knows cold, warm)" in answer.err


NOISE = ("train", *TRAIN[1:], "--strategy", "nearest_neighbors", "--set", "num_neighbors=1")
CLASSES = ("a", "b", "c", "d")


def noise_folder(folder, per_class=10, *, seed=0):
    """Four classes of noise that nothing tells apart: whatever is above a quarter was learned by heart."""
    random = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = random.integers(0, 256, (40, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A home with runs of one neighbour on noise: with folds, with folds on merged classes, and without folds."""
    folder = tmp_path_factory.mktemp("noise")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(folder / "home"))
        quick_network.register(patch)
        make_run_store()
        images, runs = noise_folder(folder / "noise"), {}
        ways = {
            "folds": ("--folds", "3"),
            "merged": ("--folds", "3", "--set", "target_map=0,0,1,1"),
            "split": (),
        }
        for name, way in ways.items():
            known = {run.run_id for run in tracking.list_runs()}
            assert cli.run([*NOISE, "--dataset", str(images), *way]) == 0
            (runs[name],) = {run.run_id for run in tracking.list_runs()} - known
    return folder, runs


@pytest.fixture
def noise_runs(noise, monkeypatch, home):
    folder, runs = noise
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(folder / "home"))
    quick_network.register(monkeypatch)
    return folder, runs


def evaluate(command, run, dataset):
    answer = command("evaluate", "--run", run, "--dataset", dataset, "--json")
    assert answer.status == 0, answer.err
    return json.loads(answer.out.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["folds", "merged"])
def test_a_run_with_folds_never_scores_above_its_folds_on_its_own_images(command, noise_runs, name):
    folder, runs = noise_runs
    summary = tracking.get_run(runs[name]).summary
    own = evaluate(command, runs[name], "noise")
    assert (own["images"], own["num"]) == ("out_of_fold", 40)
    for key in ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "log_loss"):
        assert own[key] == pytest.approx(summary[f"test_{key}"] if f"test_{key}" in summary else own[key])
    assert own["accuracy"] < 0.8
    assert "Out-of-fold result" in own["note"]
    assert "Out-of-fold result" in command("evaluate", "--run", runs[name], "--dataset", "noise").out

    again = folder / f"again_{name}"
    shutil.copytree(folder / "noise", again)
    assert command("datasets", "import", again, "--name", f"other-{name}").status == 0
    assert evaluate(command, runs[name], f"other-{name}")["accuracy"] == own["accuracy"]


def test_copies_of_training_images_are_left_out_wherever_they_turn_up(command, noise_runs, tmp_path):
    folder, runs = noise_runs
    half = tmp_path / "half"
    for class_name in CLASSES:
        (half / class_name).mkdir(parents=True)
        for number in range(5):  # other names and another store side, the same files
            shutil.copy(folder / "noise" / class_name / f"{number}.png", half / class_name / f"copy_{number}.png")
    for name in ("folds", "merged"):
        answer = command("evaluate", "--run", runs[name], "--dataset", half)
        assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1), answer.err
        assert "trained or tuned on all 20 images of 'half'" in answer.err
        assert "3 folds reached accuracy 0." in answer.err
    # Without folds the test images are new to it: they alone are left.
    table = tracking.predictions(runs["split"])
    expected = tracking.get_run(runs["split"]).metrics["test_accuracy"]
    everything = tmp_path / "everything"
    shutil.copytree(folder / "noise", everything)
    noise_folder(tmp_path / "new", 2, seed=5)
    (tmp_path / "new" / "a" / "0.png").rename(everything / "a" / "new.png")
    answer = evaluate(command, runs["split"], everything)
    num_test = int((table["split"] == "test").sum())
    assert (answer["images"], answer["num"]) == ("unseen", num_test + 1)
    assert answer["num_seen_left_out"] == 40 - num_test
    assert f"{40 - num_test} of 41 images were left out" in answer["note"]
    assert answer["accuracy"] <= (expected * num_test + 1) / (num_test + 1)


def test_classifiers_of_earlier_versions_have_their_split_drawn_again(command, noise_runs, tmp_path):
    folder, runs = noise_runs
    kept = tmp_path / "old"
    shutil.copytree(tracking.get_run(runs["split"]).folder / "bundle", kept)
    assert (kept / SEEN_FILE).is_file()
    more = shutil.copytree(folder / "noise", tmp_path / "more")
    noise_folder(tmp_path / "new", 1, seed=6)
    (tmp_path / "new" / "a" / "0.png").rename(more / "a" / "new.png")
    with_list = evaluate(command, kept, more)
    (kept / SEEN_FILE).unlink()
    assert evaluate(command, kept, more) == with_list
    assert with_list["num_seen_left_out"] > 0
    # Its data set is gone, and so is what could be known.
    manifest = json.loads((kept / "manifest.json").read_text())
    manifest["dataset"]["version"] = "0" * 16
    (kept / "manifest.json").write_text(json.dumps(manifest))
    unknown = evaluate(command, kept, "noise")
    assert (unknown["num"], unknown["num_seen_left_out"]) == (40, 0)
    assert "cannot be known any more" in unknown["note"]


@pytest.mark.slow
def test_a_training_image_is_marked_in_every_result_of_grading(command, noise_runs, tmp_path):
    folder, runs = noise_runs
    # Neighbours were found among training and validation images; a network in epochs keeps validation apart.
    known = {run.run_id for run in tracking.list_runs()}
    way = ("--strategy", "feature_extraction", "--epochs", "1", "--dataset", folder / "noise")
    assert command(*TRAIN, *way).status == 0
    (iterated,) = {run.run_id for run in tracking.list_runs()} - known
    parts = tracking.predictions(iterated).set_index("image_id")["split"]
    found = {}
    for path in sorted((folder / "noise").rglob("*.png")):
        found.setdefault(parts.get(hashlib.sha256(path.read_bytes()).hexdigest()[:16], "train"), path)
    files = [shutil.copy(found[part], tmp_path / f"{part}.png") for part in ("train", "val", "test")]
    answer = command("grade", *files, "--run", iterated, "--json")
    seen = [image["seen"] for image in json.loads(answer.out.splitlines()[-1])["images"]]
    assert seen == ["fitted", "validated", ""]
    sentence = "This image was among the training images; its grade says nothing about new ones."
    answer = command("grade", *files, "--run", runs["split"], "--json")
    seen = [image["seen"] for image in json.loads(answer.out.splitlines()[-1])["images"]]
    assert seen == ["fitted", "fitted", ""]
    assert command("grade", *files, "--run", runs["split"]).out.count(sentence) == 2
    for suffix in ("csv", "html"):
        command("grade", *files, "--run", runs["split"], "--out", tmp_path / f"r.{suffix}")
        assert (tmp_path / f"r.{suffix}").read_text().count(sentence) == 2
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert ["among the" in row["reason"] for row in rows] == [True, True, False]
    explained = command("explain", files[0], "--run", runs["split"], "--out", tmp_path / "strip.png")
    assert sentence in explained.err
    answers = [
        json.loads(command("explain", file, "--run", runs["split"], "--out", tmp_path / "s.png", "--json").out)["seen"]
        for file in files
    ]
    assert answers == seen
    with_folds = json.loads(command("grade", *files, "--run", runs["folds"], "--json").out.splitlines()[-1])["images"]
    assert all(image["seen"] for image in with_folds)


def test_a_set_that_is_only_evaluated_on_needs_no_split(command, trained, tmp_path):
    other = write_images(tmp_path / "other", per_class=2, seed=1)
    answer = command("evaluate", "--run", "latest", "--dataset", other, "--json")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["num"] == 4
    # The same folder cannot be trained on, which is said then.
    assert "at least 3 are needed" in command("train", "--dataset", other).err


@pytest.mark.parametrize("has_labels", [False, True])
def test_a_folder_of_one_class_is_enough_to_evaluate_on(command, trained, tmp_path, has_labels):
    other = write_images(tmp_path / "other", per_class=3, seed=1)
    if has_labels:
        for name in ("cold", "warm"):
            for number, path in enumerate(sorted((other / name).iterdir())):
                path.rename(other / f"{name}{number}{path.suffix}")
            (other / name).rmdir()
        files = sorted(path for path in other.iterdir() if path.name.startswith("warm"))
        for path in set(other.iterdir()) - set(files):
            path.unlink()
        (other / "labels.csv").write_text("image,label\n" + "".join(f"{path.name},warm\n" for path in files), "utf-8")
    else:
        shutil.rmtree(other / "cold")
    answer = command("evaluate", "--run", "latest", "--dataset", other, "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert (found["num"], found["classes_without_images"]) == (3, ["cold"])
    for name in (other, found["dataset"]):  # nothing to train on, by path and by the name that it has since then
        refused = command("train", *TRAIN[1:], "--dataset", name)
        assert (refused.status, refused.err.count("\n")) == (2, 1), (name, refused.out, refused.err)
        assert "only one class" in refused.err


ALPHABET = ("mild", "moderate", "no_dr", "proliferative", "severe")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A home with a graded set, imported in the order of its grades, and a run on it."""
    folder = tmp_path_factory.mktemp("graded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(folder / "home"))
        quick_network.register(patch)
        make_run_store()
        source = write_classes(folder / "eyes", ALPHABET, per_class=8)
        assert cli.run(["datasets", "import", str(source), "--name", "eyes", "--ordinal", "--order",
                        "no_dr,mild,moderate,severe,proliferative"]) == 0  # fmt: skip
        assert cli.run([*TRAIN, "--dataset", "eyes", "--strategy", "nearest_neighbors"]) == 0
    return folder


@pytest.fixture
def graded_home(graded, monkeypatch, home):
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(graded / "home"))
    quick_network.register(monkeypatch)
    return graded


def test_other_graded_images_are_matched_by_grade_and_scored_as_grades(command, graded_home, tmp_path):
    """Their folders are codes, one grade is missing, and nobody said of them that they are grades."""
    other = write_classes(tmp_path / "codes", ("0", "1", "2", "4"), per_class=2, seed=5)
    answer = command("evaluate", "--run", "latest", "--dataset", other, "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out.splitlines()[-1])
    assert (found["headline"], found["num"], found["images"]) == ("quadratic_weighted_kappa", 8, "all")
    assert found["quadratic_weighted_kappa"] is not None
    assert found["baseline_accuracy"] == 0.25  # four grades of two images
    assert 0 <= found["referable_auroc"] <= 1
    assert found["classes_without_images"] == ["severe"]
    assert found["recall"]["severe"] is None
    assert set(found["recall"]) == set(ALPHABET)
    said = command("evaluate", "--run", "latest", "--dataset", other).out
    assert said.startswith("kappa ")
    assert "(no_dr): accuracy 25.0 %" in said.splitlines()[0]
    assert "No images here of: severe; averages over classes leave them out." in said
    assert "recall of severe" in said
    assert [line.split("  ")[-1].strip() for line in said.splitlines() if line.startswith("recall of severe")] == [
        "not defined"
    ]


def test_what_needs_two_kinds_of_images_is_not_defined_for_one(command, graded_home, tmp_path):
    other = write_classes(tmp_path / "healthy", ("no_dr", "mild"), per_class=3, seed=6)
    answer = command("evaluate", "--run", "latest", "--dataset", other, "--json")
    found = json.loads(answer.out.splitlines()[-1])
    assert found["referable_auroc"] is None
    assert found["classes_without_images"] == ["moderate", "severe", "proliferative"]
    said = command("evaluate", "--run", "latest", "--dataset", other).out
    (line,) = [line for line in said.splitlines() if line.startswith("referable_auroc")]
    assert line.endswith("not defined")


def test_a_run_of_grades_says_kappa_everywhere(command, graded_home):
    run = tracking.list_runs()[0]
    for words in (("runs", "list"), ("runs", "show", run.run_id)):
        assert "kappa" in command(*words).out
    shown = json.loads(command("runs", "show", run.run_id, "--json").out)
    assert shown["headline"] == "quadratic_weighted_kappa"
    assert shown["test_baseline_accuracy"] == pytest.approx(run.summary["test_baseline_accuracy"])
    assert shown["test_referable_auroc_low"] <= shown["test_referable_auroc"] <= shown["test_referable_auroc_high"]
    assert "referable" in command("runs", "show", run.run_id).out


def test_other_classes_are_mapped_by_name_whatever_the_order_of_their_folders(command, trained, tmp_path):
    run = tracking.list_runs()[0].run_id
    same = write_images(tmp_path / "same", per_class=4, seed=3)
    expected = evaluate(command, run, same)
    other = write_images(tmp_path / "other", per_class=4, seed=3)
    (other / "warm").rename(other / "a_fire")  # now before "cold"
    (other / "cold").rename(other / "z_ice")
    write_classes(tmp_path, ("m_grass",), per_class=2, seed=4)
    (tmp_path / "m_grass").rename(other / "m_grass")
    refused = command("evaluate", "--run", run, "--dataset", other)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "leave it out, with a mapping: a_fire=...,m_grass=...,..." in refused.err
    said = command("evaluate", "--run", run, "--dataset", other, "--map", "a_fire=warm,z_ice=cold,m_grass=-", "--json")
    assert said.status == 0, said.err
    found = json.loads(said.out.splitlines()[-1])
    assert (found["num"], found["num_unmapped"]) == (8, 2)
    assert found["mapping"] == "a_fire=warm,z_ice=cold,m_grass=-"
    assert found["recall"] == expected["recall"]
    assert found["log_loss"] == expected["log_loss"]
    assert "2 images were left out by the mapping, of m_grass." in found["note"]
    wrong = command("evaluate", "--run", run, "--dataset", other, "--map", "a_fire=hot,z_ice=cold,m_grass=-")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "the class 'hot', which the classifier does not know" in wrong.err
    own = command("evaluate", "--run", run, "--dataset", "colours", "--map", "warm=cold,cold=warm")
    assert (own.status, own.err.count("\n")) == (2, 1)
    assert "trained on 'colours' itself, whose classes need no mapping" in own.err


@pytest.mark.parametrize("turned", [False, True])
def test_copies_of_training_images_with_other_bytes_are_left_out(command, noise_runs, tmp_path, turned):
    folder, runs = noise_runs
    parts = tracking.predictions(runs["split"]).set_index("image_id")["split"]
    copies = noise_folder(tmp_path / "copies", 2, seed=9)
    num_copies = 0
    for path in sorted((folder / "noise" / "b").iterdir())[:6]:
        image = Image.open(path)
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turned else image.resize((120, 120))
        image.save(copies / "b" / f"copy_{path.stem}.webp", quality=85)
        is_test = parts.get(hashlib.sha256(path.read_bytes()).hexdigest()[:16]) == "test"
        num_copies += not is_test
    found = evaluate(command, runs["split"], copies)
    assert num_copies
    assert (found["num_seen_left_out"], found["num_near_left_out"]) == (0, num_copies)
    assert found["num"] == 8 + 6 - num_copies
    assert "with other bytes (re-encoded, resized or mirrored)" in found["note"]
    assert found["images"] == "unseen"


def test_grades_of_both_sides_are_merged_by_a_target_map(command, graded_home, tmp_path):
    """Own test set, another one of grades, and one that has the merged classes already."""
    run = tracking.list_runs()[0].run_id
    table = tracking.predictions(run)
    table = table[table["split"] == "test"]
    grades = {"mild": 1, "moderate": 2, "no_dr": 0, "proliferative": 4, "severe": 3}
    names = ["no_dr", "mild", "moderate", "severe", "proliferative"]
    is_referable = np.array([grades[name] >= 2 for name in names])
    shares = table[[f"probability_{number}" for number in range(5)]].to_numpy()
    expected = (shares[:, is_referable].sum(1) > 0.5) == is_referable[table["target"].to_numpy()]
    said = command("evaluate", "--run", run, "--dataset", "eyes", "--map", "referable", "--json")
    assert said.status == 0, said.err
    own = json.loads(said.out.splitlines()[-1])
    assert own["class_names"] == ["Not referable", "Referable"]
    assert (own["images"], own["headline"]) == ("test", "accuracy")
    assert own["accuracy"] == pytest.approx(expected.mean())
    binary = write_classes(tmp_path / "binary", ("Referable", "Not referable"), per_class=3, seed=7)
    said = command("evaluate", "--run", run, "--dataset", binary, "--map", "referable", "--json")
    assert json.loads(said.out.splitlines()[-1])["num"] == 6
    assert command("evaluate", "--run", run, "--dataset", binary).status == 2


def test_folds_meet_a_target_map_and_another_data_set(command, noise_runs, tmp_path):
    """A run of folds on merged classes: new images by its classifier, whose classes they have or get by the map."""
    _, runs = noise_runs
    new = noise_folder(tmp_path / "new_noise", 3, seed=11)
    found = evaluate(command, runs["merged"], new)
    assert (found["images"], found["num"]) == ("all", 12)
    assert found["class_names"] == ["a or b", "c or d"]
    merged = tmp_path / "merged"
    for theirs, ours in zip(CLASSES, ("second", "second", "first", "first"), strict=True):
        for path in (new / theirs).iterdir():
            (merged / ours).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, merged / ours / f"{theirs}{path.name}")
    said = command(
        "evaluate", "--run", runs["merged"], "--dataset", merged, "--map", "second=a or b,first=c or d", "--json"
    )
    assert said.status == 0, said.err
    again = json.loads(said.out.splitlines()[-1])
    assert (again["accuracy"], again["log_loss"]) == (found["accuracy"], pytest.approx(found["log_loss"]))


def test_a_result_is_kept_with_the_run_and_shown_with_the_same_numbers(command, trained, tmp_path):
    run = tracking.list_runs()[0]
    other = write_images(tmp_path / "elsewhere", per_class=6, seed=21)
    answer = command("evaluate", "--run", run.run_id, "--dataset", other, "--store")
    assert answer.status == 0, answer.err
    assert "Kept with the run" in answer.err
    found = json.loads(command("evaluate", "--run", run.run_id, "--dataset", other, "--store", "--json").out)
    assert found["sentence"] in answer.out.splitlines()
    (kept,) = external_results(run.run_id)  # the second took the place of the first
    assert kept.to_dict()["scores"] == found["external"]["scores"]
    assert kept.scores["accuracy"].external.value == found["accuracy"]
    assert (kept.scores["accuracy"].external.low, kept.scores["accuracy"].external.high) == (
        found["accuracy_low"], found["accuracy_high"],
    )  # fmt: skip
    assert kept.scores["accuracy"].own.value == run.metrics["test_accuracy"]
    answers = external_answers(kept)
    assert len(answers) == 12
    right = answers[["probability_0", "probability_1"]].to_numpy().argmax(1) == answers["target"]
    assert right.mean() == found["accuracy"]
    shown = command("runs", "show", run.run_id).out
    assert f"on elsewhere: accuracy {100 * found['accuracy']:.1f}" in shown.replace("\u00a0", " ")
    listed = json.loads(command("runs", "show", run.run_id, "--json").out)["external"]
    assert listed == [found["external"] | {"made_s": listed[0]["made_s"]}]


def test_a_bundle_has_no_place_for_a_result(command, trained, tmp_path):
    bundle = tracking.list_runs()[0].folder / "bundle"
    answer = command("evaluate", "--run", bundle, "--dataset", "colours", "--store")
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "give --store the id of a run" in answer.err


def test_out_of_fold_answers_are_kept_each_with_its_fold(command, noise_runs):
    """No image of the run's own data set is answered by a classifier that was fitted on it."""
    _, runs = noise_runs
    found = json.loads(command("evaluate", "--run", runs["folds"], "--dataset", "noise", "--store", "--json").out)
    (kept,) = [one for one in external_results(runs["folds"]) if one.dataset == "noise"]
    answers, own = external_answers(kept), tracking.predictions(runs["folds"])
    own = own[own["split"] == "test"].set_index("image_id").loc[answers["image_id"]]
    assert answers["fold"].tolist() == own["fold"].tolist()
    assert len(answers) == 40
    # The kept classifier has each image among its neighbours: it would say its class with certainty.
    sure = answers[[f"probability_{number}" for number in range(4)]].to_numpy()[range(40), answers["target"]]
    assert sure.mean() < 0.8
    assert (kept.images, kept.is_own) == ("out_of_fold", True)
    assert "by the folds that had not seen them" in found["sentence"]
    assert found["external"]["scores"]["accuracy"]["delta"]["value"] is None
