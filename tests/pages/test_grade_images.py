"""The page "Grade images" with a tiny trained run: three gates, what is kept, what is said."""

import hashlib
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.testing.v1 import AppTest

from lib.atomic import write_json
from lib.data.builtin import SAMPLES_FOLDER, photographs
from lib.grading import grader as grader_module
from lib.grading import operating_point
from lib.grading.corrections import present_of
from lib.grading.grades import MEDICAL_NOTICE
from lib.grading.session_store import KEEP_S, SessionStore
from lib.models.bundles import save_bundle
from lib.models.gate import GATE_FILE, save_gate
from lib.models.seen_images import SEEN_FILE, SeenImages, save_seen
from lib.tracking import create_run
from pages.common import background, resources
from pages.grade import intake
from pages.grade import scene as grade_scene
from tests.grading.squares import CLASS_NAMES, encode, png, stored_point, train_on_squares
from tests.pages.scene import link, page_links

ROOT = Path(__file__).resolve().parents[2]
PAGE = "pages/grade_images.py"
NOISE = encode(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A home with three runs, made once: a new MLflow database takes seconds."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(home))
        trained = train_on_squares()
        made = {kind: make_run(trained, is_medical=kind == "medical") for kind in ("damaged", "medical", "plain")}
    (home / "runs" / made["damaged"] / "bundle" / "network.safetensors").write_bytes(b"broken")
    return home, made


def make_run(trained, *, is_medical):
    classifier, manifest, gate = trained
    # Every expected grade has reached both limits of a run on medical images.
    limits = {"thresholds": [-2.0] * (classifier.num_classes - 1)} if is_medical else {}
    config = {"dataset": "squares", "backbone": "mobilenet_v3_small", "strategy": "linear_probe"}
    run = create_run(config, name="<b>Squares</b>")
    about = manifest | limits | {"dataset": manifest["dataset"] | {"is_medical": is_medical}}
    save_bundle(run.folder / "bundle", classifier, about, base_digest="")
    save_gate(run.folder / "bundle" / GATE_FILE, gate)
    trained_on = [hashlib.sha256(png("red", 77)).hexdigest()[:16]]
    save_seen(run.folder / "bundle" / SEEN_FILE, SeenImages.of(trained_on, []))
    run.set_state("finished")
    return run.run_id


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Sessions of its own, and a page that waits for the thread that grades."""
    st.cache_data.clear()
    monkeypatch.setattr(intake, "STORE", SessionStore())
    monkeypatch.setattr(grade_scene, "GRACE_S", 60)


@pytest.fixture
def run_ids(runs, home, monkeypatch):
    """The ids of the runs "plain" (the newest), "medical" and "damaged", in a home that has them."""
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(runs[0]))
    return runs[1]


def open_page(*, through_app=False, **view):
    at = AppTest.from_file(str(ROOT / ("app.py" if through_app else PAGE)), default_timeout=60)
    for key, value in {"backbone": "mobilenet_v3_small", **view}.items():
        at.query_params[key] = value
    at.run()
    if through_app:
        at.switch_page(PAGE).run()
    return checked(at)


def checked(at):
    assert not at.exception
    assert not at.error, at.error[0].value
    return at


def upload(at, *files):
    at.file_uploader[0].set_value([(name, data, "image/png") for name, data in files]).run()
    return checked(at)


def view(at, name):
    at.segmented_control(key="grade_view").set_value(name).run()
    return checked(at)


def passports(at):
    return next(str(element.proto.body) for element in at.get("html") if "passport" in str(element.proto.body))


def words(at):
    return " ".join(element.value for element in (*at.markdown, *at.caption, *at.warning)).replace("\\", "")


@pytest.mark.parametrize("through_app", [True, False])
def test_without_a_run_the_page_says_what_to_do(through_app):
    at = open_page(through_app=through_app)
    assert at.title[0].value == "Grade images"
    assert "No training has finished yet" in words(at)
    assert "Train a model" in page_links(at)


def test_a_training_image_is_marked_under_any_name_and_a_new_one_is_not(run_ids):
    at = upload(open_page(run=run_ids["plain"]), ("holiday.png", png("red", 77)), ("new.png", png("red", 78)))
    shown = passports(at)
    assert shown.count("Itself a training image") == 1
    assert shown.count("its grade says nothing about new ones") == 1
    assert "its grade says nothing about new ones" in passports(view(at, "closer"))


def test_a_run_that_is_gone_is_said_and_no_other_one_grades_instead(run_ids):
    at = open_page(run="0" * 32)
    for _ in range(2):
        assert not at.exception
        assert "There is no run 000000000000 (any more)" in " ".join(box.value for box in at.warning).replace("\\", "")
        assert at.selectbox(key="grade_run").value is None
        assert not at.get("file_uploader")
        at.run()
    at.selectbox(key="grade_run").select_index(0).run()
    assert not at.warning or "There is no run" not in at.warning[0].value
    assert len(link(at, "run")) == 32


def test_three_kinds_of_files_pass_three_gates(run_ids):
    at = upload(
        open_page(through_app=True, run=run_ids["plain"]),
        ("red.png", png("red", 1)),
        ("noise.png", NOISE),
        ("<i>x.txt", b"text"),
    )
    assert link(at, "run") == run_ids["plain"]
    assert "3 files**: 1 graded (1 red), 1 unlike the training images, 1 refused." in words(at)
    shown = passports(at)
    assert shown.count("class='passport'") == 3
    for text in ("✓ Readable", ">red<", "✕ Unlike the training images", "✕ Not readable"):
        assert text in shown
    assert shown.count(">No class<") == 2
    assert shown.count("class='track'") == 2  # what could not be read has no distance
    assert "&lt;i&gt;x.txt" in shown
    assert "<i>x" not in shown
    assert shown.count("<img ") == 3  # two squares, and where the graded one speaks for its class
    assert "Where red.png speaks for red" in shown
    assert MEDICAL_NOTICE not in words(at)
    table = view(at, "table").dataframe[0].value
    assert table["status"].tolist() == ["graded", "unlike the training images", "refused"]
    assert table["picture"].str.startswith("data:image/jpeg").tolist() == [True, True, False]


def test_a_new_image_is_graded_alone_and_results_survive_other_pages(run_ids, monkeypatch):
    computed = []
    grade_images = grader_module.Grader._grade_images

    def counted(self, images):
        computed.append(len(images))
        return grade_images(self, images)

    monkeypatch.setattr(grader_module.Grader, "_grade_images", counted)
    at = upload(open_page(through_app=True), *((f"{row}.png", png("red", row)) for row in range(4)))
    upload(at, ("new.png", png("blue", 9)))
    at.switch_page("pages/start.py").run()
    at.switch_page(PAGE).run()
    assert computed == [4, 1]
    assert view(at, "table").dataframe[0].value["file"].tolist() == ["0.png", "1.png", "2.png", "3.png", "new.png"]
    token = link(at, "uploads")
    at.button(key="grade_clear").click().run()
    assert intake.STORE.find(token) is None
    assert "Cleared 5 files." in words(checked(at))
    assert "Add images above" in words(at)
    at.button(key="undo_grade_button").click().run()
    assert link(checked(at), "uploads") == token
    assert computed == [4, 1]
    assert "5 files" in words(at)


def test_the_expected_grade_decides_on_request(run_ids):
    at = upload(open_page(run=run_ids["medical"]), ("red.png", png("red", 1)))
    rule = at.toggle(key=f"grade_rule_{run_ids['medical']}")
    assert f"1 graded (1 {CLASS_NAMES[0]})" in words(at)
    rule.set_value(True).run()
    checked(at)
    assert "expected grade reaches" in words(at)
    # Card, map, summary and table name the same class.
    assert "class='grade' style" in passports(at)
    assert f">{CLASS_NAMES[-1]}" in passports(at)
    assert f"Where red.png speaks for {CLASS_NAMES[-1]}" in passports(at)
    assert f"1 graded (1 {CLASS_NAMES[-1]})" in words(at)
    assert "the most probable class is red" in passports(at)
    assert view(at, "table").dataframe[0].value["class"].tolist() == [CLASS_NAMES[-1]]
    plain = upload(open_page(run=run_ids["plain"]), ("red.png", png("red", 1)))
    assert not any(toggle.key.startswith("grade_rule") for toggle in plain.toggle)  # no limits, no choice


def test_many_images_come_page_by_page_and_by_status(run_ids):
    at = upload(open_page(), *((f"{row}.png", png("red", row)) for row in range(9)), ("bad.png", b"bad"))
    assert passports(at).count("class='passport'") == 8
    at.selectbox(key="grade_status").set_value("refused").run()
    assert passports(checked(at)).count("class='passport'") == 1


def test_a_medical_run_says_so_before_and_after(run_ids):
    at = open_page(run=run_ids["medical"])
    assert MEDICAL_NOTICE in words(at)
    upload(at, ("red.png", png("red", 1)))
    for name in ("closer", "table", "take_away"):
        assert words(view(at, name)).count(MEDICAL_NOTICE) == 1


def test_a_stored_operating_point_is_said_and_decides_nothing(run_ids, runs):
    folder = runs[0] / "runs" / run_ids["plain"] / "bundle"
    assert "operating point" not in words(open_page(run=run_ids["plain"]))
    write_json(folder / operating_point.FILE, stored_point().to_dict())
    try:
        told = words(upload(open_page(run=run_ids["plain"]), ("new.png", png("red", 78))))
        assert "Stored operating point: " in told.replace("\\", "")
    finally:
        (folder / operating_point.FILE).unlink()


def test_the_run_of_the_link_is_chosen(run_ids):
    assert open_page().selectbox(key="grade_run").value == run_ids["plain"]
    at = open_page(run=run_ids["damaged"][:10])
    assert at.selectbox(key="grade_run").value == run_ids["damaged"]


def test_a_damaged_bundle_is_one_sentence(run_ids):
    at = open_page(run=run_ids["damaged"])
    at.file_uploader[0].set_value([("red.png", png("red", 1), "image/png")]).run()
    assert not at.exception
    assert "damaged" in at.error[0].value


def test_the_samples_are_graded_with_one_click(run_ids):
    at = open_page(run=run_ids["plain"])
    at.button(key="grade_samples").click().run()
    shown = " ".join(str(element.value) for element in at.markdown)
    assert f"{len(list(SAMPLES_FOLDER.iterdir()))} files" in shown
    assert "refused" in shown  # the broken file, whatever the network thinks of the others
    assert not at.error


def test_real_photographs_are_named_with_their_licence_and_graded_with_one_click(run_ids):
    at = open_page(run=run_ids["plain"])
    assert any("Stefan van der Walt, CC0" in caption.value.replace("\\", "") for caption in at.caption)
    at.button(key="grade_photographs").click().run()
    shown = " ".join(str(element.value) for element in at.markdown)
    assert f"{len(photographs())} files" in shown
    assert not at.error


def test_what_the_session_has_taken_is_dropped_by_streamlit(monkeypatch):
    manager = MemoryUploadedFileManager("/upload")
    for number in range(3):
        manager.add_file("session", UploadedFileRec(f"id{number}", "a.png", "image/png", b"data"))
    context = SimpleNamespace(uploaded_file_mgr=manager, session_id="session")
    monkeypatch.setattr("streamlit.runtime.scriptrunner.get_script_run_ctx", lambda: context)
    resources.forget_uploads([SimpleNamespace(file_id="id0"), SimpleNamespace(file_id="id2")])
    assert [record.file_id for record in manager.get_files("session", ["id0", "id1", "id2"])] == ["id1"]


def test_a_reload_finds_the_images_by_the_link_and_nobody_else_does(run_ids):
    at = upload(open_page(run=run_ids["plain"]), ("red.png", png("red", 1)))
    token = link(at, "uploads")
    assert len(token) >= 32
    again = checked(open_page(run=run_ids["plain"], uploads=token))
    assert ">red.png<" in passports(again)
    other = open_page(run=run_ids["plain"])
    assert "Add images above" in words(other)
    guessed = open_page(run=run_ids["plain"], uploads=token[:-1] + "_")
    assert not [element for element in guessed.get("html") if "red.png" in str(element.proto.body)]
    assert "not here any more" in " ".join(box.value for box in guessed.info)


def test_what_is_not_used_for_half_an_hour_is_gone(run_ids, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(intake, "STORE", SessionStore(clock=lambda: now[0]))
    at = upload(open_page(run=run_ids["plain"]), ("red.png", png("red", 1)))
    now[0] += KEEP_S
    at.run()
    assert "not here any more" in " ".join(box.value for box in at.info)
    assert "Add images above" in words(at)


def test_cancel_keeps_what_was_graded_and_goes_on_on_request(run_ids, monkeypatch):
    grade = grader_module.Grader.grade
    reached, may_go = threading.Event(), threading.Event()

    def slow(self, items, **options):
        for number, one in enumerate(grade(self, items, **options)):
            yield one
            if number == 0:
                reached.set()
                may_go.wait(20)

    monkeypatch.setattr(grader_module.Grader, "grade", slow)
    monkeypatch.setattr(grade_scene, "GRACE_S", 0)
    at = open_page(run=run_ids["plain"])
    upload(at, *((f"{row}.png", png("red", row)) for row in range(3)))
    assert reached.wait(20)
    at.run()
    assert passports(checked(at)).count("class='passport'") == 1  # what is done is shown while the rest is graded
    at.button(key="grade_cancel").click().run()
    may_go.set()
    (task,) = [task for name, task in background._tasks.items() if name.startswith("grade:")]
    wait_for(lambda: task.is_over)
    at.run()
    assert "Cancelled; what was graded is kept. 1 image left." in words(at)
    assert "2 files**" in words(at)
    monkeypatch.setattr(grade_scene, "GRACE_S", 60)
    at.button(key="grade_go_on").click().run()
    assert "3 files**" in words(checked(at))


def wait_for(is_done, seconds=20):
    end = time.monotonic() + seconds
    while not is_done() and time.monotonic() < end:
        time.sleep(0.01)
    assert is_done()


def test_the_map_of_the_image_looked_at_is_checked_and_its_verdict_kept(run_ids):
    at = upload(open_page(run=run_ids["plain"], tab="closer"), ("red.png", png("red", 1)))
    (task,) = [task for name, task in background._tasks.items() if name.startswith("map:")]
    wait_for(lambda: task.is_over, 60)
    assert not task.error
    at.run()
    ((verdict, _),) = next(iter(intake.STORE._entries.values())).session._grades.popitem()[1].values()
    assert verdict.map_verdict == task.result != ""
    assert task.result in words(at)


def test_options_stand_in_the_link_and_reach_the_grader(run_ids, monkeypatch):
    asked = []
    deciding = grader_module.Grader.deciding
    monkeypatch.setattr(
        grader_module.Grader, "deciding", lambda self, options: asked.append(options) or deciding(self, options)
    )
    view = {"coverage": "0.95", "rotations": "on", "largest": "2"}
    upload(open_page(run=run_ids["plain"], **view), ("red.png", png("red", 1)))
    assert (asked[-1].coverage, asked[-1].rotations, asked[-1].largest_set) == (0.95, True, 2)
    upload(open_page(run=run_ids["plain"], coverage="nan", largest="x", prevalence="7"), ("red.png", png("red", 1)))
    assert (asked[-1].coverage, asked[-1].rotations, asked[-1].largest_set) == (0.9, False, None)
    assert asked[-1].prevalence is None


def test_a_folder_of_the_server_is_graded_and_a_wrong_one_said(run_ids, runs):
    folder = runs[0] / "eyes" / "more"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "red.png").write_bytes(png("red", 5))
    at = open_page(run=run_ids["plain"])
    at.text_input(key="grade_folder_path").set_value(str(folder / "missing"))
    form = next(button for button in at.button if button.label == "Add the folder")
    form.click().run()
    assert at.error
    at.text_input(key="grade_folder_path").set_value(str(folder.parent))
    next(button for button in at.button if button.label == "Add the folder").click().run()
    assert ">more/red.png<" in passports(checked(at))


def test_a_grade_is_corrected_with_a_note_and_the_correction_undone(run_ids):
    at = upload(open_page(run=run_ids["plain"], tab="closer"), ("red.png", png("red", 1)))
    digest = hashlib.sha256(png("red", 1)).hexdigest()
    assert present_of(digest, run_ids["plain"]) is None
    at.selectbox(key=f"grade_correction_{digest[:12]}_class").set_value("blue")
    at.text_input(key=f"grade_correction_{digest[:12]}_note").set_value("*seen* twice")
    next(button for button in at.button if button.label == "Keep the correction").click().run()
    kept = present_of(digest, run_ids["plain"])
    assert (kept.given, kept.corrected, kept.file, kept.note) == ("red", "blue", "red.png", "*seen* twice")
    assert "Corrected to blue." in words(checked(at))
    assert view(at, "table").dataframe[0].value["corrected to"].tolist() == ["blue"]
    view(at, "closer").button(key="grade_correction_undo").click().run()
    assert present_of(digest, run_ids["plain"]) is None
    assert "Corrected to" not in words(checked(at))


def test_the_images_are_sorted_by_confidence_and_one_is_opened_from_the_link(run_ids):
    files = [(f"{kind}{row}.png", png(kind, row)) for row, kind in enumerate(("red", "blue", "red"))]
    at = upload(open_page(run=run_ids["plain"], tab="table", order="sure"), *files, ("bad.png", b"bad"))
    shares = at.dataframe[0].value["confidence"].tolist()
    assert shares[:3] == sorted(shares[:3], reverse=True)
    assert at.dataframe[0].value["file"].tolist()[3] == "bad.png"  # without an answer: last in every order
    at.selectbox(key="grade_given").set_value("blue").run()
    assert checked(at).dataframe[0].value["file"].tolist() == ["blue1.png"]
    image = f"graded:{hashlib.sha256(files[2][1]).hexdigest()[:16]}"
    opened = checked(open_page(run=run_ids["plain"], tab="closer", image=image, uploads=link(at, "uploads")))
    assert "red2.png" in passports(opened)


def test_the_eyes_of_one_patient_are_joined(run_ids):
    files = [(name, png("red", row)) for row, name in enumerate(("7_left.png", "7_right.png", "holiday.png"))]
    at = upload(open_page(run=run_ids["plain"], tab="patients"), *files)
    assert "1 patient** with 2 pictures" in words(at)
    assert at.dataframe[0].value["patient"].tolist() == ["7"]
    assert "No file says whose eye" in words(upload(open_page(run=run_ids["plain"], tab="patients"), files[2]))


def test_the_folder_is_held_against_the_validation_and_reports_can_be_taken_away(run_ids):
    at = upload(open_page(run=run_ids["plain"], tab="folder"), ("red.png", png("red", 1)), ("bad.png", b"bad"))
    assert "Of 2 files: 1 graded, 1 refused." in words(at)
    assert at.dataframe[0].value["files"].sum() == 2
    view(at, "take_away")
    assert len(at.get("download_button")) >= 4
    assert len(view(at, "closer").get("download_button")) >= 2
