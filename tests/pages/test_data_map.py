"""Explore data, the map of the images: what is offered, the picture with its reading, and the selected images."""

import dataclasses

import pytest

from lib.data.importing import import_from
from lib.data.library import open_dataset
from lib.explain.image_map import MapQuestion, measure_map
from lib.features.stage_outputs import StagedSource
from lib.models.backbones import BACKBONES
from pages.common import background
from pages.data import image_map
from tests.pages.scene import html_of, link, make_dataset, make_run, open_page, plain_words, words, write_images


@pytest.fixture
def mapped(monkeypatch):
    """The data set "tiny" with its maps by PCA, made from 32 pixels."""
    make_dataset()
    small = dataclasses.replace(BACKBONES.get("bundled_vgg"), input_size_px=32)
    published = StagedSource.published
    monkeypatch.setattr(StagedSource, "published", lambda *_: published(small))
    image_map._question.clear()
    measure_map(MapQuestion(open_dataset("tiny"), published(small)))
    yield
    image_map._question.clear()


def test_nothing_is_computed_before_the_click(monkeypatch):
    make_dataset()
    started = []
    monkeypatch.setattr(background, "start_measurement", lambda *asked: started.append(asked))
    at = open_page("explore_data", tab="map", backbone="bundled_vgg", method="tsne")
    assert "20 images once through" in words(at)
    assert not at.get("plotly_chart")
    next(button for button in at.button if button.label == "Map the images").click().run()
    [(_, title, arguments)] = started
    assert "t-SNE" in title
    assert arguments == ["datasets", "map", "tiny", "--backbone", "bundled_vgg", "--method", "tsne"]
    # Weights that are not here are said, and offered.
    at = open_page("explore_data", tab="map", backbone="resnet18")
    assert "are not on this machine" in words(at)


def test_a_sample_and_a_slow_method_are_said_before_the_click(monkeypatch):
    make_dataset()
    image_map._question.clear()
    monkeypatch.setattr("lib.explain.image_map.map_sample", lambda *_, **__: image_map.np.arange(8))
    monkeypatch.setattr(image_map, "_MANY_POINTS", 5)
    at = open_page("explore_data", tab="map", backbone="bundled_vgg", method="umap")
    assert "8 images of 20, of each class its share, once through" in words(at)
    assert "UMAP takes a minute or more a stage" in words(at)
    image_map._question.clear()


def test_the_map_its_stages_and_the_images_that_are_selected(mapped):
    run = make_run("linear_probe", num_wrong=1)
    at = open_page("explore_data", tab="map", backbone="bundled_vgg", colour="error", run=run)
    assert [chart.key.split("_")[1] for chart in at.get("plotly_chart")] == ["points", "curve"]
    assert "of an image's 9 nearest are of its own class" in plain_words(at)
    assert "hold" in words(at)
    assert "Draw a box or a lasso" in words(at)
    spec = BACKBONES.get("bundled_vgg")
    slider = at.select_slider[0]
    assert slider.value == spec.feature_stage
    slider.set_value(spec.stages[0].name).run()
    assert (link(at, "stage"), link(at, "colour")) == (spec.stages[0].name, "error")
    [kept] = at.session_state["map_selections"].values()
    kept["points"] = kept["base"] = image_map.np.array([0, 10, 11])  # as a lasso leaves it
    at.run()
    assert "3 images selected" in words(at)
    assert html_of(at).count("<img ") == 3
    assert "Right" in words(at) or "Not tested" in words(at)
    at.button(key="map_clear").click().run()
    assert "Draw a box or a lasso" in words(at)


def test_images_without_a_label_are_mapped_too(monkeypatch, tmp_path):
    write_images(tmp_path / "loose", classes=("all",))
    loose = import_from("unlabelled", {"path": tmp_path / "loose", "classes": "cat,dog"}, name="loose")
    small = dataclasses.replace(BACKBONES.get("bundled_vgg"), input_size_px=32)
    published = StagedSource.published
    monkeypatch.setattr(StagedSource, "published", lambda *_: published(small))
    image_map._question.clear()
    measure_map(MapQuestion(loose, published(small)), stages=[small.stages[0].name])
    at = open_page("explore_data", dataset="loose", tab="map", backbone="bundled_vgg", colour="split")
    assert not at.error
    assert "How far classes lie apart cannot be said" in plain_words(at)
    [kept] = at.session_state["map_selections"].values()
    kept["points"] = image_map.np.array([0, 3])
    at.run()
    assert "**2 images selected**: 2 no label. Split: 2 In no part." in plain_words(at)
    assert "no label: all/0.png" in html_of(at)
    image_map._question.clear()
