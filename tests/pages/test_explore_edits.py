"""Explore data, view "Edits": the log of corrections, with Undo."""

from lib.data.edits import add_edit
from lib.data.library import open_dataset
from pages.common import resources
from tests.pages.scene import CLASSES, html_of, make_dataset, open_page, words


def test_the_log_lists_undoes_and_exports_edits():
    name = make_dataset()
    before = open_dataset(name)
    ids = before.table["image_id"].tolist()
    assert "No image was edited" in words(open_page("explore_data", tab="edits"))
    add_edit(name, "exclude", ids[:2], reason="*blurred*")
    target = before.class_names.index("blue")
    blue = next(one for one, own in zip(ids[2:], before.table["target"][2:], strict=True) if own == target)
    add_edit(name, "relabel", [blue], CLASSES[0], who="audit")
    resources.dataset_summaries.clear()
    at = open_page("explore_data", tab="edits")
    assert not at.exception
    assert "2 edits" in words(at)
    assert "2 images excluded" in words(at)
    assert r"\*blurred\*" in words(at)
    assert "by the audit" in words(at)
    assert html_of(at).count("<img ") == 3
    at.button(key=f"edit_undo_{name}_1").click().run()
    assert not at.exception
    assert not open_dataset(name).is_excluded.any()
    assert "1 of them undone" in words(at)
    assert [button.key for button in at.button if str(button.key).startswith("edit_undo")] == [
        f"edit_undo_{name}_3", f"edit_undo_{name}_2"
    ]  # fmt: skip


def test_excluded_images_are_said_and_shown_apart():
    name = make_dataset()
    ids = open_dataset(name).table["image_id"].tolist()
    add_edit(name, "exclude", ids[:3])
    at = open_page("explore_data")
    assert not at.exception
    assert "17 images** in 2 classes" in words(at)
    assert "3 images excluded" in words(at)
    at.segmented_control(key="explore_split").set_value("Excluded").run()
    assert html_of(at).count("<img ") == 3
