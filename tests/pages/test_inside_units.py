"""The views "Channels" and "What a unit looks for" of the page "Look inside", with random weights."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from lib.data.importing import import_folder
from lib.data.library import open_dataset
from pages.common import background
from tests.pages.scene import link

ROOT = Path(__file__).resolve().parents[2]
PAGE = "pages/look_inside.py"
BACKBONE = "bundled_vgg"  # the quickest with ReLU


@pytest.fixture(autouse=True)
def _fresh_listings() -> None:
    st.cache_data.clear()


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    generator = np.random.default_rng(0)
    for name in ("red", "blue"):
        folder = tmp_path / "tiny" / name
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return import_folder(tmp_path / "tiny", name="tiny").name


def open_page(**view: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    for key, value in {"backbone": BACKBONE, **view}.items():
        at.query_params[key] = value
    at.switch_page(PAGE).run()
    return checked(at)


def checked(at: AppTest) -> AppTest:
    assert not at.exception
    assert not at.error, at.error[0].value
    return at


def pictures(at: AppTest) -> str:
    return " ".join(str(element.proto.body) for element in at.get("html"))


def texts(at: AppTest) -> str:
    found = (*at.markdown, *at.caption, *at.warning, *at.info, *at.success, *at.code)
    return " ".join(str(element.value) for element in found).replace("\\", "")


def press(at: AppTest, label: str) -> AppTest:
    next(button for button in at.button if button.label.startswith(label)).click()
    at.run()
    deadline = time.monotonic() + 100
    while any(not task.is_over for task in list(background._tasks.values())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return checked(at.run())


def test_all_channels_strongest_first_one_large_and_each_a_link(dataset: str) -> None:
    at = open_page(dataset=dataset, view="channels", stage="block1")
    shown = pictures(at)
    assert shown.count("Channel ") >= 2 * (24 + 1)  # a page and the large one; alternative text and title
    assert "Rank 1 of 32 by strength" in texts(at)
    assert "of its places are zero or nearly so" in texts(at)
    assert "1 to 24 of 32 channels of Block 1 (block1), 96 × 96 cells" in texts(at)
    other = next(number for number in range(32) if f"channel={number}&" in shown or f'channel={number}"' in shown)
    at = open_page(dataset=dataset, view="channels", stage="block1", channel=str(other))
    assert link(at, "channel") == str(other)
    assert f"Channel {other}." in texts(at)
    at.toggle(key="inside_bare").set_value(True).run()
    assert "All on one scale" in texts(checked(at))
    assert "data:image/png" in pictures(at)


def test_the_page_of_the_grid_is_that_of_the_channel(dataset: str) -> None:
    shown = pictures(open_page(dataset=dataset, view="channels", stage="block1"))
    hidden = next(number for number in range(32) if f"channel={number}&" not in shown.replace("&amp;", "&"))
    at = open_page(dataset=dataset, view="channels", stage="block1", channel=str(hidden))
    assert "25 to 32 of 32 channels" in texts(at)
    assert "outline:3px" in pictures(at)


@pytest.mark.parametrize("view", ["channels", "units"])
@pytest.mark.parametrize("channel", ["999", "-1", "x", "9" * 30])
def test_an_unknown_channel_of_a_link_is_one_sentence(dataset: str, view: str, channel: str) -> None:
    at = open_page(dataset=dataset, view=view, stage="block1", channel=channel)
    (warning,) = [one.value for one in at.warning if "There is no channel" in one.value]
    assert "which has 32: showing" in warning


def test_a_channel_goes_with_its_stage_and_does_not_warn_in_a_smaller_one(dataset: str) -> None:
    at = open_page(dataset=dataset, view="units", stage="block5", channel="400")
    at.selectbox(key="inside_stage").set_value("block1").run()
    assert not [one.value for one in checked(at).warning if "channel" in one.value]
    assert (link(at, "stage"), link(at, "channel")) == ("block1", "")
    at.number_input(key="inside_channel").set_value(3).run()
    assert link(checked(at), "channel") == "3"


def test_tokens_in_their_places_and_no_way_back_through_gelu(dataset: str) -> None:
    at = open_page(dataset=dataset, backbone="timm:test_vit", view="channels")
    assert "10 × 10 cells" in texts(at)
    at = open_page(dataset=dataset, backbone="timm:test_vit", view="units", part="pixels")
    assert "The way back to the pixels is not offered for this network" in texts(at)
    assert "gelu" in texts(at)


def test_a_camera_is_a_kind_of_image(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = open_page(dataset=dataset, view="channels")
    assert at.selectbox(key="inside_kind").options[-1] == "Camera"
    at.selectbox(key="inside_kind").set_value("camera").run()
    assert link(checked(at), "image") == "camera"
    assert "upload a photograph instead" in texts(at)
    assert "Choose an image" in texts(at)
    content = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(content, "JPEG")
    monkeypatch.setattr(st, "camera_input", lambda *_, **__: content)
    at.run()
    assert "by mean magnitude" in texts(checked(at))
    monkeypatch.setattr(st, "camera_input", lambda *_, **__: io.BytesIO(b"no picture"))
    at.run()
    assert "camera" in at.error[0].value
    assert not at.exception


def test_what_a_unit_looks_for_is_offered_and_then_shown(dataset: str) -> None:
    at = open_page(dataset=dataset, view="units", stage="block1", channel="5")
    assert "Nobody has looked through **tiny**" in texts(at)
    press(at, "Look through 6 images")
    assert "every channel of this stage is shown at once" in texts(at)
    assert "of these" in texts(at)
    assert "are labelled" in texts(at)
    assert "each place sees 7 × 7 pixels of 192 × 192 pixels" in texts(at)
    shown = pictures(at).replace("&amp;", "&")
    image_id = str(open_dataset(dataset).table["image_id"].iloc[0])
    assert f"image={image_id}" in shown
    assert "view=channels" in shown
    at = open_page(dataset=dataset, view="units", stage="block1", channel="6")  # another channel: no second pass
    assert "Nobody has looked" not in texts(at)
    assert f"--stage block1 --channel 6 --dataset {dataset} --out unit.png" in texts(at)


def test_the_way_back_to_the_pixels_says_that_it_fails_checks(dataset: str) -> None:
    at = open_page(dataset=dataset, view="units", stage="block2", part="pixels")
    assert "it shows edges of the image whatever the weights" in texts(at)
    assert "Deconvolution" in pictures(at)
    assert "Guided back-propagation" in pictures(at)


def test_a_picture_is_made_from_noise_and_played(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib.explain import feature_visualization

    monkeypatch.setattr(feature_visualization.MakingRequest, "num_steps", 4)
    monkeypatch.setattr(feature_visualization.MakingRequest.__init__, "__defaults__", (0, 4, ""))
    at = open_page(dataset=dataset, view="units", stage="block1", channel="3", part="made")
    press(at, "Make the picture")
    assert "after 4 steps, seed 0" in texts(at)
    assert "data:image/webp" in pictures(at)
    slider = next(one for one in at.select_slider if one.label == "Step")
    assert slider.options == ["0", "4"]
    slider.set_value(0).run()
    assert "After 0 steps" in pictures(checked(at))
    assert "--maximize --seed 0" in texts(at)


def test_no_data_set_and_one_that_is_gone() -> None:
    at = open_page(view="units", stage="block1")
    assert "Choose a data set in the sidebar" in texts(at)
    at = open_page(dataset="gone", view="units", stage="block1")
    assert "There is no data set **gone**" in texts(at)
