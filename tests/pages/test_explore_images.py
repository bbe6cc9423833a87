"""Explore data: images by what is asked for, one in full, and the distributions of their measures."""

import time

import pytest

from lib.data.class_means import class_means
from lib.data.image_measures import image_measures
from lib.data.importing import import_from
from lib.data.library import open_dataset
from lib.errors import Stopped
from pages.common import background
from tests.pages.scene import (
    html_of,
    link,
    make_dataset,
    make_run,
    open_page,
    page_links,
    plain_words,
    words,
    write_images,
)


@pytest.fixture
def dataset():
    """The tiny set, measured, so that no page waits."""
    make_dataset()
    found = open_dataset("tiny")
    image_measures(found)
    return found


def shown_images(at) -> int:
    return html_of(at).count("<img")


def test_images_by_class_answer_and_order_and_one_in_full(dataset):
    run = make_run("linear_probe", num_wrong=2)
    at = open_page(
        "explore_data", dataset="tiny", tab="images", run=run[:8], outcome="wrong", measure="error", falls="1"
    )
    assert "**2 images** of 20 · the run was tested on 2 of them and right on 0" in plain_words(at)
    assert shown_images(at) == 2
    assert "open=" in html_of(at)
    at.selectbox("images_outcome").select("right").run()
    assert (link(at, "outcome"), link(at, "falls"), link(at, "run")) == ("right", "1", run)
    assert "**2 images** of 20" in plain_words(at)
    image_id = dataset.table["image_id"][dataset.split(0) == "test"].iloc[0]
    at.query_params["open"] = image_id
    at.run()
    assert "Not among the images of this choice" in plain_words(at)  # it is answered wrongly
    assert "**0 of 1** runs that were tested on it are right." in plain_words(at)
    facts = at.get("table")[0].value
    assert "Patient or group" in str(facts)
    at.button("data_close").click().run()
    assert link(at, "open") == ""
    assert shown_images(at) == 2


def test_what_the_link_asks_for_and_is_not_there_gives_no_error(dataset):
    at = open_page(
        "explore_data", dataset="tiny", tab="images", open="nothing", run="ffff", predicted="cow", measure="mood",
        between="x", sheet="99", flag="odd",
    )  # fmt: skip
    assert not at.error
    assert "is not in this data set" in words(at)
    assert "**20 images** of 20" in plain_words(at)


def test_distributions_say_what_stands_out_and_show_the_images_of_a_range(dataset):
    at = open_page("explore_data", dataset="tiny", tab="measures", measure="brightness")
    assert "What stands out" in words(at)
    assert "of 100 pairs" in words(at)
    assert shown_images(at) == 0
    values = image_measures(dataset)["brightness"]
    at.slider("measures_between_brightness").set_range(values.min(), values.median()).run()
    low, high = (float(end) for end in link(at, "between").split(","))
    fitting = values.between(low, high).sum()
    assert 8 <= fitting <= 12
    assert f"**{fitting} images** of brightness" in plain_words(at)
    assert shown_images(at) == fitting
    at.selectbox("measures_measure").select("contrast").run()
    assert (link(at, "measure"), link(at, "between")) == ("contrast", "")


def test_mean_images_of_classes_and_their_difference(dataset):
    class_means(dataset, dataset.split(0), "test")
    at = open_page("explore_data", dataset="tiny", tab="means", split="test")
    wait_for(f"means {dataset.version} 0 test")
    at.run()
    assert "The mean images are alike" in words(at)
    assert "2 images" in html_of(at)
    assert shown_images(at) == 3 + 2  # all and each class; the difference of each


def wait_for(name):
    task = background.find(name)
    deadline = time.monotonic() + 30
    while not task.is_over and time.monotonic() < deadline:
        time.sleep(0.01)
    assert task.is_over


def wait_for_measures(dataset):
    wait_for(f"measure {dataset.content_version} False")


def test_measuring_is_stopped_and_begun_again_by_a_click(monkeypatch):
    make_dataset()

    def stop(dataset, *, progress):
        raise Stopped

    monkeypatch.setattr("pages.data.measured.image_measures", stop)
    at = open_page("explore_data", dataset="tiny", tab="images")
    wait_for_measures(open_dataset("tiny"))
    at.run()
    assert "Stopped" in words(at)
    assert "**20 images** of 20" in plain_words(at)  # shown all the same
    assert "Brightness" not in at.selectbox("images_measure").options
    at.run()
    assert [button.label for button in at.button if button.key == "make_measure"] == ["Measure the images"]
    monkeypatch.setattr("pages.data.measured.image_measures", image_measures)
    at.button("make_measure").click().run()
    wait_for_measures(open_dataset("tiny"))
    at.run()
    assert "Brightness" in at.selectbox("images_measure").options


def test_a_folder_whose_images_have_no_label_yet(tmp_path):
    write_images(tmp_path / "loose", classes=("all",))
    image_measures(import_from("unlabelled", {"path": tmp_path / "loose", "classes": "cat,dog"}, name="loose"))
    at = open_page("explore_data", dataset="loose", tab="images", measure="brightness")
    assert not at.error
    assert "**10 images** of 10" in plain_words(at)
    assert "no label, not divided yet" in html_of(at)
    for tab in ("overview", "measures", "means", "gap", "splits"):  # these compare classes: one sentence, and ways on
        at = open_page("explore_data", dataset="loose", tab=tab)
        assert not at.error
        assert "0 of 10 images of 'loose' have a label, too few to train yet" in plain_words(at)
        assert {"Label the images", "Look at the images", "Import it with more"} <= set(page_links(at))
