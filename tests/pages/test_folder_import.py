"""The form of imports, drawn from the table of sources: archives, patterns of names, columns, uploads."""

import dataclasses
import threading
from pathlib import Path

import pytest

from lib.data.library import open_dataset
from lib.data.sources.catalogue import SOURCES
from lib.data.sources.uploads import keep_uploaded_folder
from lib.settings import cache_dir, downloads_dir
from pages.common import folder_import
from tests.data.folders import encoded, picture
from tests.data.sources.archives import tar_with, zip_of
from tests.data.sources.test_excel import write_workbook
from tests.pages.scene import link, open_page, plain_words, words
from tests.pages.test_explore_data import wait_for


@pytest.fixture
def animals(tmp_path, monkeypatch):
    """A flat folder whose names say the classes, as dogs-vs-cats has them."""
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path))
    folder = tmp_path / "animals"
    folder.mkdir()
    for number in range(10):
        name = f"{('cat', 'dog')[number % 2]}.{number}.png"
        (folder / name).write_bytes(encoded(picture(number)))
    return folder


def imported(at):
    at.button(key="explore_import_start").click().run()
    task = wait_for(folder_import.TASK)
    assert not task.error
    at.run()
    assert not at.exception
    return task.result


def table_of(at, *columns):
    return next(table.value for table in at.dataframe if list(table.value.columns) == list(columns))


def test_a_pattern_is_offered_with_its_classes_before_it_is_applied(animals):
    (animals / "other.png").write_bytes(encoded(picture(99)))
    at = open_page("explore_data", form="import")
    at.text_input(key="explore_path").input(str(animals)).run()
    pattern = next(box for box in at.text_input if box.label == "Pattern of the names")
    assert pattern.value == "{class}.{number}"
    rows = table_of(at, "Class", "Images", "For example").to_numpy().tolist()
    assert rows == [["cat", 5, "cat.0.png"], ["dog", 5, "dog.1.png"]]
    assert "1 name does not fit and is left out, such as other.png" in words(at).replace("\\", "")
    pattern.set_value("{klass}").run()
    assert "must have {class} once" in at.error[0].value.replace("\\", "")
    assert not any(button.key == "explore_import_start" for button in at.button)
    next(box for box in at.text_input if box.label == "Pattern of the names").set_value("{class}.*").run()
    dataset = imported(at)
    assert (dataset.class_names, dataset.num_images) == (("cat", "dog"), 10)


def test_an_archive_with_a_sheet_inside_shows_the_image_of_each_row(animals, tmp_path):
    names = sorted(path.name for path in animals.iterdir())
    rows = [(name[:-4], index % 2, index // 2) for index, name in enumerate(names)]
    write_workbook(animals / "labels.xlsx", Grades=[("file", "class", "patient"), *rows, ("absent", 1, 9)])
    path = zip_of(animals, tmp_path / "animals.zip", top="animals/")
    at = open_page("explore_data", form="import", source="archive")
    at.text_input(key="explore_archive_path").input(str(path)).run()
    assert not at.error
    first = table_of(at, "Row", "Names", "Class", "Image").iloc[0].tolist()
    assert first == [2, "cat.0", "0", "animals/cat.0.png"]
    assert "10 of 11 rows mean one image each, of 10 images" in words(at)
    next(box for box in at.selectbox if box.label == "Labels from").select("0").run()
    dataset = imported(at)
    assert (dataset.name, dataset.num_images, dataset.table["group_id"].nunique()) == ("animals", 10, 5)
    assert dataset.description["options"]["labels"] == ["animals/labels.xlsx"]
    assert link(at, "dataset") == "animals"


def test_an_upload_is_taken_over_and_removed(animals):
    kept = keep_uploaded_folder([(f"mine/{path.name}", path.read_bytes()) for path in animals.iterdir()])
    at = open_page("explore_data", form="import", source="archive")
    at.session_state["explore_archive_path_uploaded"] = str(kept)
    at.run()
    assert "Uploaded: **mine.tar**" in words(at).replace("\\", "")
    assert imported(at).name == "mine"
    assert not kept.exists()
    assert open_dataset("mine").source_path(0)
    assert list((cache_dir() / "uploads").iterdir()) == []


def test_an_archive_that_leads_out_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path / "inside"))
    (tmp_path / "inside").mkdir()
    at = open_page("explore_data", form="import", source="archive")
    bad = tar_with(tmp_path / "inside" / "a.tar", ("cat/1.png", b"x", {}), ("../out.png", b"x", {}))
    for path, said in ((bad, "leads out of the archive"), (tmp_path / "b.tar", "outside the allowed folders")):
        at.text_input(key="explore_archive_path").input(str(path)).run()
        assert said in at.error[0].value.replace("\\", "")
        assert len(at.error) == 1
    assert not (tmp_path / "out.png").exists()


def test_the_command_says_what_the_form_asks_for():
    spec = SOURCES.get("archive")
    order = folder_import._Order(spec, {"path": Path("/a b.zip")}, "mine", None, folder_import.Draw(per_class=20))
    reading = {"labels": ("x.csv", "y.csv"), "class_column": None, "pairs": False, "name_pattern": None}
    assert order.command(reading) == (
        "python -m lib datasets import '/a b.zip' --source archive --set labels=x.csv --set labels=y.csv "
        "--set pairs=no --name mine --per-class 20"
    )


def test_pseudonyms_are_a_switch_that_stays_with_the_folder_and_is_on_for_medical_images(animals):
    def switch(at):
        return next(one for one in at.toggle if one.label == "Pseudonyms instead of names")

    at = open_page("explore_data", form="import")
    at.text_input(key="explore_path").input(str(animals)).run()
    assert not switch(at).value
    assert not any("--pseudonyms" in code.value for code in at.code)
    next(one for one in at.checkbox if one.label == "Medical images").set_value(True).run()
    assert switch(at).value
    next(one for one in at.checkbox if one.label == "Medical images").set_value(False).run()
    switch(at).set_value(True).run()
    assert any(code.value.endswith(" --pseudonyms") for code in at.code)
    dataset = imported(at)
    assert dataset.has_pseudonyms
    assert not dataset.table["path"].str.contains("cat.", regex=False).any()
    at = open_page("explore_data", form="import")
    at.text_input(key="explore_path").input(str(animals)).run()
    assert switch(at).value
    switch(at).set_value(False).run()
    assert not imported(at).has_pseudonyms


def test_looking_into_a_large_archive_is_stopped_and_begun_again(animals, tmp_path, monkeypatch):
    path = zip_of(animals, tmp_path / "animals.zip")
    archive, waiting = SOURCES.get("archive"), threading.Event()

    def wait(request):
        while not waiting.is_set():
            request.progress(1, 10, "Unpacking")
            waiting.wait(0.01)
        return archive.look(request)

    monkeypatch.setattr(folder_import, "_LOOK_S", 0.0)
    monkeypatch.setitem(SOURCES._specs, "archive", dataclasses.replace(archive, look=wait))
    at = open_page("explore_data", form="import", source="archive")
    at.text_input(key="explore_archive_path").input(str(path)).run()
    assert "Looking into animals.zip" in plain_words(at)
    stop = next(button for button in at.button if button.label == "Stop")
    stop.click().run()
    wait_for(stop.key.removeprefix("stop_"))
    at.run()
    assert "Stopped; the archive was not looked into." in words(at)
    assert not at.error
    waiting.set()
    monkeypatch.setattr(folder_import, "_LOOK_S", 30.0)
    at.button(key="explore_look").click().run()
    assert imported(at).num_images == 10


def test_a_public_set_whose_files_are_here_says_so():
    at = open_page("explore_data", form="import", source="retinamnist")
    assert "It is fetched from the network first" in words(at)
    (downloads_dir() / "retinamnist").mkdir(parents=True)
    (downloads_dir() / "retinamnist" / "retinamnist.npz").write_bytes(b"here")
    assert "Files of it are on this machine; what is missing is fetched" in words(at.run())
