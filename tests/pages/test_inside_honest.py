"""The honest card on the page "Look inside", and the table of methods over many images."""

import time

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lib.evaluation.resampling import Estimate
from lib.explain.honest_card import HonestCard
from lib.explain.map_checks import MethodRow
from pages.common import background
from pages.inside import honest, method_table
from tests.pages.scene import html_of, link, make_dataset, open_page


@pytest.fixture(autouse=True)
def _fresh(home) -> None:
    st.cache_data.clear()
    st.cache_resource.clear()
    make_dataset()


def open_view(**view: str) -> AppTest:
    return open_page("look_inside", **{"dataset": "tiny", "backbone": "bundled_vgg", "view": "honest", **view})


def wait_for(at: AppTest, prefix: str) -> AppTest:
    """Run the page again once the background task is over."""
    (name,) = [name for name in background._tasks if name.startswith(prefix)]
    until = time.monotonic() + 60
    while not background._tasks[name].is_over and time.monotonic() < until:
        time.sleep(0.05)
    assert background._tasks[name].is_over
    return at.run()


def texts(at: AppTest) -> str:
    found = (*at.markdown, *at.caption, *at.warning, *at.info)
    return " ".join(str(element.value) for element in found).replace("\\", "")


@pytest.mark.slow
def test_a_map_is_checked_on_a_click_and_the_verdict_stays() -> None:
    at = open_view(stage="block2", method="layer_cam")
    assert "Is the LayerCAM map to be trusted?" in texts(at)
    next(button for button in at.button if button.label == "Check this map").click().run()
    at = wait_for(at, "card:")
    assert not at.exception
    said = texts(at)
    assert any(title in said for _, title in honest._LEVELS.values())
    shown = html_of(at)
    assert "Same method, random weights" in shown
    assert shown.count("gain ") >= 5
    assert "no reason to treat" in said
    again = open_view(stage="block2", method="layer_cam")  # another session: kept
    assert not [button for button in again.button if button.label == "Check this map"]


def test_no_evidence_is_said_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Always:  # every map that is asked for
        def get(self, _key: str) -> HonestCard:
            return HonestCard(has_evidence=False)

    monkeypatch.setattr(honest, "_cards", Always)
    at = open_view()
    assert "No evidence" in texts(at)
    assert "gain " not in html_of(at)


def test_an_unknown_method_and_one_that_does_not_fit() -> None:
    at = open_view(method="grad_cm")
    assert "There is no method grad_cm." in texts(at)
    assert at.selectbox(key="inside_honest_method").value == "grad_cam"
    at.selectbox(key="inside_honest_method").set_value("saliency").run()
    assert link(at, "method") == "saliency"
    at = open_view(method="deep_lift")
    assert "Showing Grad-CAM." in texts(at)


def test_a_network_of_tokens_offers_methods_of_pixels_alone() -> None:
    at = open_view(backbone="timm:test_vit")
    assert "grad_cam" not in at.selectbox(key="inside_honest_method").options
    assert not at.exception


def row(method: str, low: float, *, pointing: float = float("nan")) -> MethodRow:
    here, nothing = Estimate(low + 0.1, low, low + 0.2), Estimate(pointing, pointing, pointing)
    return MethodRow(
        method=method, num_images=50, num_empty=1, gain=here, deletion=here, insertion=here, road=here, likeness=here,
        pointing=nothing, pointing_chance=nothing, mass=nothing, mass_chance=nothing,
    )  # fmt: skip


def test_the_table_of_methods_says_only_what_intervals_bear_out(monkeypatch: pytest.MonkeyPatch) -> None:
    at = open_view()
    assert any(button.label == "Measure 4 methods on 50 images" for button in at.button)
    monkeypatch.setattr(method_table, "_read", lambda key: [row("layer_cam", -0.05), row("grad_cam", 0.02)])
    at = open_view()
    table = at.dataframe[-1].value
    assert table["Method"].tolist() == ["Grad-CAM", "LayerCAM"]  # the largest gain first
    assert "Points at lesions" not in table
    assert "Better than the mean of their controls on these images: Grad-CAM." in texts(at)
    assert method_table.reading([row("layer_cam", -0.05)]).startswith("Not shown")
