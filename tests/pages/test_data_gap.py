"""Explore data, how far from ImageNet: what is offered, the stages with their reading, every network."""

from lib.advisor.gap import kept_gap
from lib.atomic import write_json
from lib.data.library import open_dataset
from pages.common import background
from tests.advisor.test_gap import make_gap
from tests.pages.scene import make_dataset, open_page, plain_words, words


def test_measured_on_a_click_and_read_in_words(monkeypatch):
    make_dataset()
    started = []
    monkeypatch.setattr(background, "start_measurement", lambda *asked: started.append(asked))
    at = open_page("explore_data", tab="gap", backbone="bundled_vgg")
    assert "Nothing is trained" in words(at)
    at.button(key="gap_start_bundled_vgg").click().run()
    at.button(key="gap_all").click().run()
    assert [arguments[4] for _, _, arguments in started] == ["bundled_vgg", "all"]
    assert at.table[0].value["In words"]["ResNet-18"].startswith("Its weights are not here")
    found = make_gap(0.3, None, 0.9)
    write_json(kept_gap(open_dataset("tiny").version, "bundled_vgg"), found.to_dict())
    at.run()
    assert [chart.key for chart in at.get("plotly_chart")] == ["gap_stages"]
    assert "stage 3 is further from ImageNet than noise is" in plain_words(at)
    assert "to the advisor these images are different" in plain_words(at)
    assert at.table[0].value["Distance"].tolist().count("0.60") == 1


def test_weights_that_are_not_here_are_offered():
    make_dataset()
    at = open_page("explore_data", tab="gap", backbone="resnet18")
    assert "its weights are not on this machine" in words(at)
    assert at.button(key="gap_download").label.startswith("Download the weights")
