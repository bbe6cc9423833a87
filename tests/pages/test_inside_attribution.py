"""The view "Attribution" of "Look inside" on a tiny data set, with random weights."""

import time

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lib.explain.methods import METHODS
from lib.explain.targets import Target
from lib.models.backbones import BACKBONES
from pages.common import background
from pages.inside.attribution import _target_for
from pages.inside.attribution_choices import _pair
from pages.inside.scene import network_of_backbone
from tests.pages import scene
from tests.pages.scene import html_of, link

QUICK = "grad_cam,layer_cam"


@pytest.fixture(autouse=True)
def _scene(home):
    st.cache_data.clear()
    st.cache_resource.clear()
    scene.make_dataset()


def open_view(**view: str) -> AppTest:
    asked = {"backbone": "mobilenet_v3_small", "dataset": "tiny", "view": "attribution", "methods": QUICK, **view}
    return scene.open_page("look_inside", **asked)


def text_of(at: AppTest) -> str:
    """Sentences as a person reads them."""
    said = (*at.markdown, *at.caption, *at.info, *at.warning)
    return " ".join(element.value for element in said).replace("\\", "")


def test_methods_stand_side_by_side_on_one_scale():
    at = open_view()
    shown = html_of(at)
    assert shown.count("<img ") >= 4  # the input, two maps, their difference
    assert "LayerCAM − Grad-CAM" in shown
    assert "One scale for all" in text_of(at)
    assert "own full colour" in text_of(at)
    said = text_of(at)
    assert all(f"**{METHODS.get(name).title}**" in said for name in ("guided_grad_cam", "deep_lift"))
    assert "rectifies or gates by hardsigmoid" in said
    offered = at.multiselect(key="inside_methods").options
    assert "Score-CAM" in offered
    assert "DeepLift" not in offered  # it does not fit, and is told with its reason


def test_every_choice_is_in_the_link():
    at = open_view(beside="stages", method="layer_cam", stages="stem,block3", ask="0 - 1", opacity="0.8", unit="raw")
    assert at.multiselect(key="inside_stages").value == ["stem", "block3"]
    assert at.selectbox(key="inside_method").value == "layer_cam"
    assert at.selectbox(key="inside_ask_kind").value == "difference"
    assert at.slider(key="inside_opacity").value == 0.8
    assert 'against "' in text_of(at)
    at.selectbox(key="inside_ask_kind").select("class").run()
    at.selectbox(key="inside_ask_first").select(1).run()
    at.slider(key="inside_opacity").set_value(0.3).run()
    at.multiselect(key="inside_stages").select("block2").run()
    assert not at.exception
    kept = {key: link(at, key) for key in ("beside", "method", "stages", "ask", "opacity", "unit")}
    assert kept == {
        "beside": "stages", "method": "layer_cam", "stages": "stem,block3,block2", "ask": "1", "opacity": "0.3",
        "unit": "raw",
    }  # fmt: skip


def test_options_are_widgets_and_kept():
    at = open_view(methods="saliency", options="saliency.num_samples:3")
    assert at.number_input(key="inside_option_saliency_num_samples").value == 3
    at.number_input(key="inside_option_saliency_noise").set_value(0.2).run()
    assert not at.exception
    assert link(at, "options") == "saliency.noise:0.2,saliency.num_samples:3"
    at.number_input(key="inside_option_saliency_num_samples").set_value(1).run()
    assert link(at, "options") == "saliency.noise:0.2"


def test_networks_side_by_side():
    at = open_view(beside="networks", method="grad_cam", networks="random")
    assert not at.error
    assert "random weights" in html_of(at)


def test_a_slow_method_works_in_the_background_and_is_kept():
    at = open_view(methods="occlusion", options="occlusion.window_px:112,occlusion.stride_px:112")
    for _ in range(100):
        if "224 × 224 pixels" in html_of(at).replace("Input", "", 1) and "Occlusion" in html_of(at):
            break
        time.sleep(0.2)
        at.run()
    assert not at.exception
    assert "Occlusion" in html_of(at)
    assert not [task for task in background._tasks.values() if task.name.startswith("map:") and not task.is_over]


def test_a_stopped_method_says_so(monkeypatch: pytest.MonkeyPatch):
    def stopped(name, title, work):
        task = background._tasks[name] = background.Task(name, title)
        task.error, task.is_over = task.stopped, True
        return task

    monkeypatch.setattr(background, "start", stopped)
    at = open_view(methods="occlusion")
    at.run()
    assert background.Task.stopped in text_of(at)
    assert [button.label for button in at.button if button.key and button.key.startswith("again_map:")]


def test_what_the_link_asks_for_and_cannot_be():
    at = open_view(methods="deep_lift,grad_cam", ask="expected", stage="nonsense")
    said = text_of(at)
    assert "Not for this network: deep_lift" in said
    assert "have no order" in said
    assert not at.error
    assert at.selectbox(key="inside_ask_kind").value == "predicted"


def test_a_transformer_has_maps_of_pixels_alone():
    at = open_view(backbone="timm:test_vit", methods="saliency")
    assert at.multiselect(key="inside_methods").options == ["Integrated gradients", "Occlusion", "Saliency"]
    assert "tokens" in text_of(at)
    at = open_view(backbone="timm:test_vit", beside="stages")
    assert "No method of stages fits this network" in text_of(at)


def test_another_network_is_asked_for_the_class_of_that_name():
    network = network_of_backbone(BACKBONES.get("cnn_food"), is_random=True)
    names = ("class 4", "elsewhere", "class 2")
    assert _target_for(network, Target("class", 2), names) == Target("class", 2)
    assert _target_for(network, Target("class", 0), names) == Target("class", 4)
    assert _target_for(network, Target("class", 1), names) == Target()
    assert _target_for(network, Target("difference", 0, 2), names) == Target("difference", 4, 2)
    assert _target_for(network, Target("expected"), names) == Target()
    assert _pair(3, 3) == Target("difference", 3, 0)
    assert _pair(0, 0) == Target("difference", 0, 1)


def test_each_map_leads_to_its_honest_card():
    at = open_view(ask="0 - 1", stage="block3")
    shown = html_of(at)
    assert shown.count(">Check this map</a>") == 2
    assert "view=honest" in shown
    assert "method=layer_cam" in shown
