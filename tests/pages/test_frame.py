"""The frame: every page has it, the view is in the link, and errors are sentences."""

import subprocess
import sys
import time

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lib.models.backbones import BACKBONES
from lib.settings import DEFAULT_BACKBONE, runs_dir
from pages.common import background, state, weights_panel
from pages.common.page_table import PAGES
from tests.pages.scene import ROOT, link, make_dataset, open_page, words

OWN_PAGES = ("start", "explore_data", "compare_runs")


@pytest.mark.parametrize("through_app", [True, False])
@pytest.mark.parametrize("name", OWN_PAGES)
def test_each_page_has_the_frame(name, through_app):
    make_dataset()
    at = open_page(name, through_app=through_app)
    assert len(at.title) == 1
    assert [box.label for box in at.sidebar.selectbox] == ["Data set", "Backbone"]
    assert not at.error


def test_the_table_of_pages_matches_the_files():
    files = {path.stem for path in (ROOT / "pages").glob("*.py")} - {"__init__"}
    assert {page.name for page in PAGES} == files


def test_every_page_asks_for_the_frame_first():
    for page in PAGES:
        assert "ensure_frame(__file__)" in page.file.read_text("utf-8"), page.name


def test_the_view_is_kept_from_page_to_page_and_in_the_link():
    make_dataset()
    at = open_page("start", backbone="resnet18", dataset="tiny")
    at.switch_page("pages/compare_runs.py").run()
    assert link(at, "backbone") == "resnet18"
    assert link(at, "dataset") == "tiny"
    assert at.sidebar.selectbox[1].value == "resnet18"


@pytest.mark.parametrize(
    ("image", "kept"),
    [("upload", "upload"), ("camera", "camera"), ("sample:cat.png", "sample:cat.png"), ("ab12", None)],
)
def test_another_data_set_lets_go_of_its_image_only(image, kept, monkeypatch):
    session = {"view_image": image, "view_class": "blue"}
    monkeypatch.setattr(st, "session_state", session)
    state.choose_dataset("other")
    assert (session["view_dataset"], session["view_image"], session["view_class"]) == ("other", kept, None)


def test_only_what_a_person_chose_is_a_step_of_the_history():
    make_dataset()
    at = open_page("explore_data")
    assert dict(at.query_params) == {}  # defaults are filled in by the browser, without an entry
    assert link(at, "dataset") == "tiny"
    at.selectbox(key="explore_class").select("blue").run()
    written = {key: at.query_params[key] for key in at.query_params}
    assert {key: value[-1] if isinstance(value, list) else value for key, value in written.items()} == {
        "dataset": "tiny", "backbone": "efficientnet_lite0", "class": "blue",
    }  # fmt: skip


def test_back_shows_what_the_address_says_and_forgets_what_it_does_not(monkeypatch):
    make_dataset()
    at = open_page("explore_data", **{"class": "blue"})
    assert at.selectbox(key="explore_class").value == "blue"
    monkeypatch.setattr(state, "is_history_navigation", lambda: True)
    at.query_params.clear()
    at.query_params["dataset"] = "tiny"
    at.run()
    assert at.selectbox(key="explore_class").value == ""  # all of them
    assert link(at, "class") == ""


def test_what_a_page_chose_is_not_overwritten_by_what_the_browser_still_sends():
    make_dataset()
    at = open_page("explore_data", **{"class": "no such class"})
    assert at.selectbox(key="explore_class").value == ""  # all of them
    at.selectbox(key="explore_class").select("blue").run()
    assert at.selectbox(key="explore_class").value == "blue"
    at.run()  # the same address again is no news
    assert at.selectbox(key="explore_class").value == "blue"


def test_choosing_in_the_sidebar_changes_the_link():
    make_dataset()
    at = open_page("explore_data")
    at.sidebar.selectbox[1].select("vgg16").run()
    assert link(at, "backbone") == "vgg16"


def test_a_link_to_what_is_not_there_says_so_literally():
    make_dataset()
    at = open_page("explore_data", through_app=False, dataset="<b>$x$</b>", backbone="alexnet")
    warnings = [warning.value for warning in at.sidebar.warning]
    assert len(warnings) == 2
    assert r"\<b\>\$x\$" in warnings[0]
    assert "alexnet" in warnings[1]
    assert at.sidebar.selectbox[0].value is None  # nobody is led to another one unasked
    assert at.sidebar.selectbox[1].value == "efficientnet_lite0"
    said = words(at)
    assert r"There is no data set **\<b\>\$x\$" in said
    at.sidebar.selectbox[0].select("tiny").run()
    assert link(at, "dataset") == "tiny"
    assert "There is no data set" not in words(at)


def test_sidebar_tells_which_weights_are_here_and_fetches_others(monkeypatch):
    make_dataset()
    at = open_page("explore_data", backbone="resnet18")
    assert "pretrained weights of ResNet-18 are not on this machine" in words(at)
    assert "Without a network everything here works" in words(at)
    asked = []
    monkeypatch.setattr(weights_panel, "download_weights", lambda name, progress: asked.append(name))
    at.button(key="sidebar_download").click().run()
    wait_until(lambda: background.find("weights_resnet18") is None or background.find("weights_resnet18").is_over)
    assert asked == ["resnet18"]
    said = words(at) + words(at.run())  # once, in whichever run comes after its end
    assert said.count("ResNet-18: its weights are here, checksum right.") == 1
    # What came with the installation is there already: no button offers it.
    installed = {"sidebar_download_bundled_vgg", "sidebar_download_efficientnet_lite0"}
    assert not [button for button in at.button if button.key in installed]
    assert "in the package" in said


def test_the_sidebar_says_that_the_fallback_stands_in_for_a_missing_package(package_of_weights):
    make_dataset()
    at = open_page("explore_data")
    assert at.sidebar.selectbox[1].value == "bundled_vgg"
    assert "brings the default" in words(at)
    at.sidebar.selectbox[1].select("resnet18").run()
    assert "takes its place" not in words(at)


def test_a_download_without_a_network_says_what_to_do():
    make_dataset()
    at = open_page("explore_data", backbone="resnet18")
    at.button(key="sidebar_download_mobilenet_v2").click().run()
    wait_until(
        lambda: background.find("weights_mobilenet_v2") is None or background.find("weights_mobilenet_v2").is_over
    )
    assert "could not be fetched" in words(at) + words(at.run())


def wait_until(holds, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_page_that_fails_shows_a_sentence_and_no_traceback():
    def script():
        from pages.common.errors import show_errors

        with show_errors("draw the picture"):
            raise RuntimeError("secret detail")

    at = AppTest.from_function(script).run()
    assert not at.exception
    assert "Could not draw the picture" in at.error[0].value
    assert "secret" not in at.error[0].value


def test_a_user_error_is_shown_as_it_is():
    def script():
        from lib.errors import UserError
        from pages.common.errors import show_errors

        with show_errors():
            raise UserError("There is no class <i>x</i>; choose another.")

    at = AppTest.from_function(script).run()
    assert at.error[0].value == r"There is no class \<i\>x\<\/i\>\; choose another\."


@pytest.mark.slow
def test_explore_and_compare_never_import_torch():
    make_dataset()
    code = (
        "import sys; from tests.pages.scene import open_page; "
        "[open_page(name) for name in ('start', 'explore_data', 'compare_runs')]; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr[-2000:]


@pytest.mark.parametrize(
    "page", ["start", "explore_data", "look_inside", "train_model", "compare_runs", "grade_images"]
)
def test_damaged_databases_are_named_on_every_page(page):
    make_dataset()
    for name in ("mlflow.db", "jobs.sqlite"):
        (runs_dir() / name).write_bytes(b"no database" * 1000)
    at = open_page(page)
    said = words(at)
    assert "jobs" in said
    assert "is damaged" in said
    assert "runs repair" in said
    assert "unexpected" not in said
    assert (runs_dir() / "mlflow.db").read_bytes() == b"no database" * 1000


def test_a_network_of_timm_that_is_none_is_said_with_near_ones():
    at = open_page("explore_data", backbone="timm:resnet18x")
    said = " ".join(warning.value for warning in at.warning)
    assert "resnet18x" in said
    assert "Did you mean" in said
    assert "resnet18d" in said
    assert link(at, "backbone") == DEFAULT_BACKBONE


@pytest.mark.slow
def test_pages_show_a_known_network_of_timm_without_torch(home):
    BACKBONES.get("timm:test_resnet")
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; at = AppTest.from_file('app.py', default_timeout=60);"
        "at.query_params['backbone'] = 'timm:test_resnet'; at.run(); at.switch_page('pages/compare_runs.py').run();"
        "print(at.selectbox(key='sidebar_backbone').value, 'torch' in sys.modules, len(at.exception))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, timeout=240)
    assert done.stdout == "timm:test_resnet False 0\n", done.stderr
