"""Explore data: counts, pictures, what was left out, import and deletion."""

import os
import re
import shutil
import time

import pytest

from lib.data.dataset_changes import change_dataset, rebuild_dataset
from lib.data.grades import GRADE_NAMES
from lib.data.importing import import_folder
from lib.data.label_schema import SchemaChange
from lib.data.library import list_datasets, open_dataset
from pages.common import background, folder_import, kind_change
from tests.pages.scene import CLASSES, html_of, link, make_dataset, open_page, page_links, words, write_images


def wait_for(task_name):
    task = background.find(task_name)
    while not task.is_over:
        time.sleep(0.005)  # waiting without it takes half of the time from the task
    return task


def test_an_empty_library_says_what_to_do():
    at = open_page("explore_data")
    assert "There is no data set yet" in words(at)
    assert "Go to the start page" in page_links(at)


def test_counts_and_pictures():
    make_dataset()
    at = open_page("explore_data")
    assert "20 images** in 2 classes of 10" in words(at)  # equal classes are one line
    assert "The originals are 40 px wide and 32 px high" in words(at)
    assert [chart.key for chart in at.get("plotly_chart")] == ["class_counts", "image_sizes"]  # behind the images
    assert html_of(at).count("<img ") == 10  # five a class
    files = [element.help for element in at.markdown if ".png" in element.help]
    at.button(key="explore_another").click().run()
    assert files
    assert files != [element.help for element in at.markdown if ".png" in element.help]
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
    at = open_page("explore_data", tab="origin")
    table = at.dataframe[0].value
    assert table["path"].tolist() == [f"{CLASSES[0]}/notes.txt"]
    assert table["reason"].str.len().min() > 5


@pytest.mark.slow
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
        (lambda tmp_path: tmp_path.parent, "outside"),
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
    assert "20 images** in 2 classes" in words(at)


@pytest.mark.slow
def test_lesions_are_outlined_on_request_and_ungradable_images_say_so(monkeypatch):
    from lib.data.builtin import make_synthetic_fundus
    from lib.data.fundus import generation

    draw = generation.draw_photograph
    monkeypatch.setattr(
        generation,
        "draw_photograph",
        lambda case, **options: draw(
            case, **options | {"ungradable": "blurred" if case.grade == 2 and case.patient % 2 == 0 else ""}
        ),
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


KAGGLE = ("Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe")
IN_ORDER = "No_DR = No DR\nMild\nModerate\nSevere\nProliferate_DR = Proliferative"


def _kind_key(at, name: str) -> str:
    """The key of a field of the form, which is new for every folder and version."""
    kinds = (at.checkbox, at.text_area, at.selectbox)
    return next(
        one.key for kind in kinds for one in kind if one.key and re.fullmatch(rf"explore_kind_.*_{name}", one.key)
    )


@pytest.fixture
def eyes(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path))
    return write_images(tmp_path / "eyes", per_class=4, classes=KAGGLE)


def _imported(at, eyes):
    at.text_input(key="explore_path").input(str(eyes)).run()
    at.button(key="explore_import_start").click().run()
    assert not wait_for(folder_import.TASK).error
    at.run()
    return open_dataset("eyes")


def test_a_graded_folder_is_imported_as_it_suggests(eyes):
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(eyes)).run()
    said = words(at)
    assert "Suggested because the class name" in said
    assert at.checkbox(key=_kind_key(at, "ordinal")).value
    assert at.text_area(key=_kind_key(at, "classes")).value == IN_ORDER
    dataset = _imported(at, eyes)
    assert (dataset.spec.is_ordinal, dataset.spec.is_medical, dataset.class_names) == (True, True, GRADE_NAMES)
    assert "The classes are grades, in this order: No DR" in words(at)
    assert "research and education only" in words(at)


def test_suggestions_can_be_declined_and_names_be_given(eyes):
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(eyes)).run()
    at.checkbox(key=_kind_key(at, "ordinal")).uncheck().run()
    at.checkbox(key=_kind_key(at, "medical")).uncheck().run()
    at.selectbox(key=_kind_key(at, "crop")).select("retina_box").run()
    at.text_area(key=_kind_key(at, "classes")).input("\n".join(("Severe = bad", *KAGGLE[:-1]))).run()
    dataset = _imported(at, eyes)
    assert (dataset.spec.is_ordinal, dataset.spec.is_medical, dataset.spec.crop_policy) == (False, False, "retina_box")
    assert dataset.class_names == ("bad", *KAGGLE[:-1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mild\nModerate", "lacks the class"),
        ("\n".join((*KAGGLE, "rose")), "names no class"),
        ("\n".join((*KAGGLE, "Mild")), "twice"),
        ("\n".join((*KAGGLE[:-1], "Severe = Mild")), "is given twice"),
        ("\n".join((*KAGGLE[:-1], "Severe =")), "not empty"),
    ],
)
def test_classes_that_will_not_do_are_refused_in_words(eyes, text, expected):
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(eyes)).run()
    at.text_area(key=_kind_key(at, "classes")).input(text).run()
    assert expected in at.error[0].value
    assert not any(button.key == "explore_import_start" for button in at.button)


def test_grades_in_a_folders_alphabet_are_warned_of(eyes):
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(eyes)).run()
    at.text_area(key=_kind_key(at, "classes")).input("\n".join(KAGGLE)).run()
    assert "As grades these stand in another order" in at.warning[0].value


def test_kind_and_names_change_as_a_new_version_and_back(eyes):
    before = import_folder(eyes)
    at = open_page("explore_data", dataset="eyes")
    at.button(key="explore_kind_switch").click().run()
    assert at.button(key="explore_kind_save").disabled
    at.toggle(key=f"explore_kind_take_{before.version}").set_value(True).run()
    at.button(key="explore_kind_save").click().run()
    after = open_dataset("eyes")
    assert (after.class_names, after.spec.is_ordinal, after.versions[1]) == (GRADE_NAMES, True, before.version)
    assert f"is at version {after.version[:12]} now; trainings of version {before.version[:12]} keep" in words(at)
    at.button(key="explore_kind_undo").click().run()
    assert open_dataset("eyes").version == before.version
    assert not at.exception


def test_another_crop_is_cut_in_the_background_and_can_be_stopped(eyes, monkeypatch):
    before = import_folder(eyes)
    at = open_page("explore_data", dataset="eyes")
    at.button(key="explore_kind_switch").click().run()
    at.selectbox(key=_kind_key(at, "crop")).select("retina_box").run()
    assert "in the background" in words(at)
    save = at.button(key="explore_kind_save")
    assert save.label == "Cut the images anew"
    save.click().run()
    assert not wait_for(kind_change.TASK).error
    at.run()
    assert open_dataset("eyes").spec.crop_policy == "retina_box"
    assert "is at version" in words(at)
    assert background.Task.stopped in _stopped_rebuild(before.name)
    assert open_dataset("eyes").spec.crop_policy == "retina_box"


def _stopped_rebuild(name):
    def work(progress):
        background.find(kind_change.TASK).stop.set()
        return rebuild_dataset(name, "center_square", progress=progress)

    background.forget(kind_change.TASK)
    background.start(kind_change.TASK, "again", work)
    return wait_for(kind_change.TASK).error


def test_another_crop_is_not_offered_where_the_originals_are_gone(eyes):
    import_folder(eyes)
    shutil.rmtree(eyes)
    at = open_page("explore_data", dataset="eyes")
    at.button(key="explore_kind_switch").click().run()
    assert at.selectbox(key=_kind_key(at, "crop")).disabled
    assert "The originals of" in words(at)
    at.checkbox(key=_kind_key(at, "medical")).check().run()
    at.button(key="explore_kind_save").click().run()
    assert open_dataset("eyes").spec.is_medical


def test_a_change_from_elsewhere_is_not_overwritten(eyes):
    import_folder(eyes)
    at = open_page("explore_data", dataset="eyes")
    at.button(key="explore_kind_switch").click().run()
    at.checkbox(key=_kind_key(at, "medical")).check().run()
    change_dataset("eyes", SchemaChange(class_names={"Mild": "mild"}))
    at.button(key="explore_kind_save").click().run()
    assert "was changed meanwhile" in at.error[0].value
    assert not open_dataset("eyes").spec.is_medical


def write_flat(root, num_patients=8):
    """Both eyes of some patients in a flat folder with labels beside it."""
    picture = write_images(root / "source", per_class=2 * num_patients, classes=("x",)) / "x"
    (root / "train").mkdir()
    rows = []
    for number, path in enumerate(sorted(picture.glob("*.png"))):
        name = f"{number // 2}_{('left', 'right')[number % 2]}"
        path.rename(root / "train" / f"{name}.png")
        rows.append(f"{name},{number % 4 // 2},{number % 2}\n")
    shutil.rmtree(root / "source")
    (root / "trainLabels.csv").write_text("image,level,other\n" + "".join(rows))
    return root


@pytest.mark.slow
def test_a_flat_folder_with_labels_shows_its_columns_and_takes_others(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path))
    root = write_flat(tmp_path / "eyes")
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(root / "train")).run()  # the labels lie beside it
    assert "16 files" in words(at)
    assert "class in level" in words(at)
    choices = {box.label: box for box in at.selectbox}
    assert choices["Labels from"].format_func("") == "As found: trainLabels.csv"
    assert (choices["Image column"].value, choices["Class column"].value) == ("image", "level")
    choices["Class column"].select("other").run()
    assert "class in other" in words(at)
    next(toggle for toggle in at.toggle if toggle.label.startswith("Keep a patient")).set_value(False).run()
    assert "8 patients have several" in words(at)
    at.button(key="explore_import_start").click().run()
    dataset = wait_for(folder_import.TASK).result
    assert (dataset.num_images, dataset.class_names) == (16, ("0", "1"))
    assert dataset.table["target"].tolist() == [0] * 8 + [1] * 8
    assert dataset.spec.split_caveat
    at.run()
    assert "8 patients have several" in words(at)
    assert not at.exception


def test_an_unclear_label_file_can_be_chosen_from(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path))
    root = write_flat(tmp_path / "eyes")
    text = (root / "trainLabels.csv").read_text()
    (root / "trainLabels.csv").write_text(text.replace("image,level,other", "image,a,b"))
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(root)).run()
    assert "its columns are: image, a, b" in at.error[0].value.replace("\\", "")
    assert not any(button.key == "explore_import_start" for button in at.button)
    next(box for box in at.selectbox if box.label == "Class column").select("a").run()
    assert not at.error
    assert "class in a" in words(at)


def test_labels_beside_an_allowed_folder_are_not_looked_at(tmp_path, monkeypatch):
    root = write_flat(tmp_path / "eyes")
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(root / "train"))
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(root / "train")).run()
    assert "16 images but no class folders" in at.error[0].value


def test_an_import_never_waits_for_pipes_nor_follows_links_out(tmp_path, monkeypatch):
    """Pipes and devices as images, masks and tables, and links to what the dashboard may not read."""
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path / "roots"))
    outside = write_images(tmp_path / "outside", per_class=3, classes=("secret",))
    folder = write_images(tmp_path / "roots" / "pets", per_class=6, classes=("cat", "dog"))
    os.mkfifo(folder / "cat" / "pipe.png")
    os.mkfifo(folder / "labels.csv")
    (folder / "cat" / "device.png").symlink_to("/dev/zero")
    (folder / "secret").symlink_to(outside / "secret")
    (folder / "dog" / "linked.png").symlink_to(outside / "secret" / "0.png")
    (folder / "masks").mkdir()
    os.mkfifo(folder / "masks" / "pipe.png")
    (folder / "masks" / "out.png").symlink_to(outside / "secret" / "0.png")
    rows = (
        "cat/0.png,masks/pipe.png",
        "cat/1.png,masks/out.png",
        "dog/0.png,../../outside/secret/1.png",
        "dog/1.png,/dev/zero",
    )
    (folder / "metadata.csv").write_text("\n".join(("path,mask_path", *rows)))
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(folder)).run()
    assert not at.error, [error.value for error in at.error]
    assert "12 files" in words(at)
    at.button(key="explore_import_start").click().run()
    assert wait_for(folder_import.TASK).error == ""
    dataset = open_dataset("pets")
    assert (dataset.class_names, dataset.num_images, dataset.has_masks) == (("cat", "dog"), 12, False)
    reasons = dict(zip(dataset.left_out["path"], dataset.left_out["reason"], strict=True))
    for path in ("secret", "dog/linked.png", "masks/out.png", "cat/device.png"):
        assert "leads out of the folders" in reasons[path], reasons
    for path in ("cat/pipe.png", "labels.csv", "masks/pipe.png"):
        assert "ordinary file" in reasons[path], reasons
    notes = dataset.table.set_index("path")["flags"]
    assert all("mask not used" in notes[path] for path in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"))


def test_a_table_instead_of_a_pipe_is_read_or_left_out_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path))
    folder = write_images(tmp_path / "pets", per_class=5, classes=("cat", "dog"))
    os.mkfifo(folder / "metadata.csv")
    at = open_page("explore_data")
    at.text_input(key="explore_path").input(str(folder)).run()
    assert "10 files" in words(at)
    (folder / "metadata.csv").unlink()
    with (folder / "metadata.csv").open("wb") as table:
        table.truncate(2**40)  # a terabyte of holes
    at.text_input(key="explore_path").input(f"{folder}/").run()
    assert "10 files" in words(at)
