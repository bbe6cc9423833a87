"""The first view of "Look inside": the strip, and under it what each stage is worth, from tables that are kept."""

import dataclasses
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lib.atomic import write_json
from lib.data.importing import import_folder
from lib.data.library import delete_dataset, open_dataset
from lib.explain.stage_probes import StageQuestion
from lib.explain.stage_reading import cut_sentence, method, peak, reading
from lib.explain.stage_worth import StageWorth
from lib.models.backbones import BACKBONES
from lib.models.bundles import save_bundle
from lib.models.classifier import build_classifier
from lib.models.stages import build_backbone
from lib.tracking import create_run
from lib.training.config import TrainConfig
from pages.common import background
from tests.explain.test_stage_worth import make_worth
from tests.pages.scene import html_of, link, make_dataset, open_page, words, write_images
from tests.run_store import make_run_store

BACKBONE = "bundled_vgg"
SPEC = BACKBONES.get(BACKBONE)
CURVE = [55, 60, 70, 80, 95, 94, 80, 70]


@pytest.fixture(autouse=True)
def _fresh_listings() -> None:
    st.cache_data.clear()


def keep(worth: StageWorth, name: str = "tiny") -> StageWorth:
    """Put a table where the page looks for that of a data set, with the stages of the network."""
    rows = tuple(
        dataclasses.replace(row, stage=stage.name, title=stage.title)
        for row, stage in zip(worth.rows, SPEC.stages, strict=True)
    )
    kept = dataclasses.replace(worth, rows=rows, dataset=name, dataset_title=name)
    write_json(StageQuestion(open_dataset(name), SPEC).path, kept.to_dict())
    return kept


def open_worth(**view: str) -> AppTest:
    at = open_page("look_inside", **{"backbone": BACKBONE, "dataset": "tiny", **view})
    assert not at.error, at.error[0].value
    return at


def said(at: AppTest) -> str:
    """All words, without what escapes Markdown."""
    return words(at).replace("\\", "").replace("\u2060", "")


def test_before_anything_is_measured_there_is_the_strip_and_a_button(monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset()
    started: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        background, "start_measurement", lambda name, title, arguments: started.append((name, arguments))
    )
    at = open_worth()
    assert "Not measured" in html_of(at)
    assert html_of(at).count("Mean activation") >= 5
    assert not started  # never unasked
    [button] = [one for one in at.button if one.label == "Measure what each stage is worth"]
    button.click().run()
    assert [arguments for _, arguments in started] == [["stages", "--dataset", "tiny", "--backbone", BACKBONE]]
    assert "20 images once through each of 2 networks" in said(at)


def test_what_was_measured_shows_at_once_with_the_sentence_of_the_command() -> None:
    make_dataset()
    worth = keep(make_worth(CURVE, [50, 50, 52, 55, 60, 60, 60, 60]))
    at = open_worth()
    assert html_of(at).count('data-point="pretrained"') == len(SPEC.stages)
    assert html_of(at).count('data-point="random weights"') == len(SPEC.stages)
    assert ">borrowed</span>" in html_of(at)
    assert reading(worth) in said(at)
    assert method(worth) in said(at)
    assert cut_sentence(worth, worth.best) in said(at)
    assert not [one for one in at.button if one.label.startswith("Measure")]
    assert at.title[0].value == "Look inside"


def test_the_pretrained_curve_is_shown_while_the_other_is_still_to_come() -> None:
    make_dataset()
    keep(make_worth(CURVE, is_complete=False))
    at = open_worth()
    assert html_of(at).count('data-point="pretrained"') == len(SPEC.stages)
    assert [one.label for one in at.button if one.label.startswith("Measure")] == ["Measure what is missing"]


def test_the_cut_is_stepped_and_a_link() -> None:
    make_dataset()
    worth = keep(make_worth(CURVE, [50] * 8))
    at = open_worth(behind="block2")
    assert cut_sentence(worth, 1) in said(at)
    assert html_of(at).count("frozen and borrowed") == 2
    at.button(key="inside_cut_later").click().run()
    assert cut_sentence(worth, 2) in said(at)
    assert link(at, "behind") == "block3"
    at.button(key="inside_cut_best").click().run()
    assert cut_sentence(worth, worth.best) in said(at)
    assert at.button(key="inside_cut_best").disabled
    assert f"behind={SPEC.stages[0].name}" in html_of(at)  # a click on a tile cuts there
    assert cut_sentence(worth, worth.best) in said(open_worth(behind="conv9"))  # no stage of this network


def test_a_second_data_set_beside_it() -> None:
    make_dataset()
    first = keep(make_worth(CURVE, [50] * 8))
    import_folder(make_other(), name="other")
    second = keep(make_worth([55, 90, 80, 70, 70, 70, 70, 60], [50] * 8), "other")
    at = open_worth(second="other")
    assert f"tiny: {peak(first)}" in said(at)
    assert f"other: {peak(second)}" in said(at)
    assert html_of(at).count('data-point="other"') == len(SPEC.stages)
    at = open_worth()
    pills = next(element for element in at.get("button_group") if element.key == "inside_second")
    pills.set_value("other").run()
    assert link(at, "second") == "other"
    assert f"other: {peak(second)}" in said(at)
    gone = open_worth(second="lost")
    assert "There is no data set lost (any more)" in said(gone)
    assert reading(first)[:60] in said(gone)


def make_other():
    from lib.settings import home

    return write_images(home() / "other_images", classes=("cat", "dog"))


def test_a_data_set_that_is_gone_and_none_at_all() -> None:
    make_dataset()
    delete_dataset("tiny")
    at = open_worth()
    assert "data set" in said(at)
    assert "any more" in said(at) or "Choose a data set" in said(at)


def test_a_class_smaller_than_the_folds_is_one_sentence() -> None:
    from lib.settings import home

    import_folder(write_images(home() / "few_images", 4, classes=("a", "b")), name="few")
    at = open_worth(dataset="few")
    assert "at least 5 are needed" in said(at)
    assert "Not measured" in html_of(at)


def test_weights_that_are_not_at_hand_borrow_nothing() -> None:
    make_dataset()
    at = open_worth(backbone="mobilenet_v3_small")
    assert "The pretrained weights of MobileNetV3-small are not on this machine: nothing can be borrowed." in said(at)
    assert html_of(at).count("<img ") > 7


def test_a_network_of_tokens_has_its_strip() -> None:
    make_dataset()
    at = open_worth(backbone="timm:test_vit")
    assert "Not measured" in html_of(at)
    assert "nothing can be borrowed" in said(at)


def test_hand_made_measures_have_no_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.inside import worth

    told: list[str] = []
    monkeypatch.setattr(worth.controls, "empty_state", told.append)
    worth.draw(SimpleNamespace(network=SimpleNamespace(spec=BACKBONES.get("handcrafted")), image=None, target=None))
    assert len(told) == 1
    assert "have no stages" in told[0]


def test_a_run_of_the_link_that_is_gone_is_said() -> None:
    make_dataset()
    worth = keep(make_worth(CURVE, [50] * 8))
    at = open_worth(tuned="abcdef")
    assert "The run abcdef of the link is none of this network on this data set." in said(at)
    assert reading(worth) in said(at)


def make_run(strategy: str, *, version: str) -> str:
    """A finished run with the bundled network, trained on a version of some data set."""
    make_run_store()
    classifier = build_classifier(build_backbone(BACKBONE, feature_only=True), head="linear", num_classes=2)
    config = TrainConfig(dataset="other", backbone=BACKBONE, strategy=strategy)
    run = create_run(config.to_dict(), name=f"A {strategy}")
    run.set_state("finished")
    preprocessing = {"input_size_px": 192, "mean": list(SPEC.mean), "std": list(SPEC.std)}
    about = {"name": "other", "version": version}
    manifest = {"classes": ["a", "b"], "preprocessing": preprocessing, "strategy": strategy, "dataset": about}
    save_bundle(run.folder / "bundle", classifier, manifest, base_digest="none")
    return run.run_id


def test_a_run_of_another_data_set_is_asked_beside_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset()
    run_id = make_run("full_finetuning", version="gone")
    asked: list[list[str]] = []
    monkeypatch.setattr(background, "start_measurement", lambda name, title, arguments: asked.append(arguments))
    at = open_worth(run=run_id[:8])
    assert "once through each of 3 networks" in said(at)
    [button] = [one for one in at.button if one.label == "Measure what each stage is worth"]
    button.click().run()
    assert asked == [["stages", "--dataset", "tiny", "--backbone", BACKBONE, "--run", run_id]]
    assert "A run beside its start" not in [element.label for element in at.get("button_group")]  # it is there
