"""Explore data: counts, pictures, what was left out, import and deletion."""

import pytest

from lib.data.library import list_datasets
from pages.common import background, folder_import
from tests.pages.scene import CLASSES, html_of, link, make_dataset, open_page, page_links, words, write_images


def wait_for(task_name):
    task = background.find(task_name)
    while not task.is_over:
        pass
    return task


def test_an_empty_library_says_what_to_do():
    at = open_page("explore_data")
    assert "There is no data set yet" in words(at)
    assert "Go to the start page" in page_links(at)


def test_counts_and_pictures():
    make_dataset()
    at = open_page("explore_data")
    assert at.metric[0].value == "20"
    assert [chart.key for chart in at.get("plotly_chart")] == ["class_counts", "image_sizes"]
    assert html_of(at).count("<img ") == 16  # eight a class
    assert r"\<b\>red\<\_b\> \$x\^2\$" in words(at)


def test_one_class_page_by_page_is_in_the_link():
    make_dataset()
    at = open_page("explore_data")
    at.selectbox(key="explore_class").select("blue").run()
    assert link(at, "class") == "blue"
    assert "1 to 10 of 10 images" in words(at)
    assert open_page("explore_data", **{"class": CLASSES[0]}).selectbox(key="explore_class").value == CLASSES[0]


def test_left_out_files_with_reasons():
    make_dataset()
    at = open_page("explore_data")
    at.session_state["explore_tabs"] = "Left-out files (1)"
    at.run()
    table = at.dataframe[0].value
    assert table["path"].tolist() == [f"{CLASSES[0]}/notes.txt"]
    assert table["reason"].str.len().min() > 5


def test_import_shows_its_cost_then_runs_and_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path))
    folder = write_images(tmp_path / "pets", per_class=5, classes=("cat", "dog"))
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(f" '{folder}' ").run()  # as a file manager copies it
    assert "10 files, at most 4 MiB" in words(at)
    at.button(key="explore_import_start").click().run()
    assert not wait_for(folder_import.TASK).error
    at.run()
    assert "Imported pets: 10 images, 1 file left out" in words(at)
    assert link(at, "dataset") == "pets"
    assert at.sidebar.selectbox[0].value == "pets"


@pytest.mark.parametrize(
    ("make", "words_expected"),
    [
        (lambda tmp_path: tmp_path.parent, "outside the allowed folders"),
        (lambda tmp_path: tmp_path / "nothing", "There is no folder"),
        (lambda tmp_path: tmp_path / "empty", "empty"),
    ],
)
def test_bad_folders_are_refused_in_words(tmp_path, monkeypatch, make, words_expected):
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path))
    (tmp_path / "empty").mkdir()
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(make(tmp_path))).run()
    assert len(at.error) == 1
    assert words_expected in at.error[0].value
    assert not any(button.key == "explore_import_start" for button in at.button)


def test_deletion_can_be_undone():
    make_dataset()
    at = open_page("explore_data")
    at.button(key="explore_delete_tiny").click().run()
    assert "Deleted tiny" in words(at)
    assert list_datasets() == []
    at.button(key="undo_data set_button").click().run()
    assert [summary.name for summary in list_datasets()] == ["tiny"]
    assert at.metric[0].value == "20"


def test_lesions_are_outlined_on_request_and_ungradable_images_say_so(monkeypatch):
    from lib.data.fundus import generation
    from lib.data.library import make_synthetic_fundus

    draw = generation.draw_photograph
    monkeypatch.setattr(
        generation,
        "draw_photograph",
        lambda case, **options: draw(case, **options, is_ungradable=case.grade == 2 and case.patient % 2 == 0),
    )
    make_synthetic_fundus(per_class=5, size_px=64)
    at = open_page("explore_data")
    assert 0 < html_of(at).count(">Ungradable<") < 5
    assert "cannot be graded" in words(at)
    assert "Microaneurysm" not in " ".join(str(html.value) for html in at.get("html"))
    at.toggle(key="explore_outline").set_value(True).run()
    assert "Microaneurysm" in " ".join(str(html.value) for html in at.get("html"))
    at.session_state["explore_tabs"] = "Severity scale"
    at.run()
    assert "10.1016/S0161-6420(03)00475-5" in words(at)
    assert not at.exception
