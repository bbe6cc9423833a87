import numpy as np
import pytest

from lib.atomic import write_json
from lib.demo import opening
from lib.demo.opening import ABOUT_FILE, EYE_FILE, NETWORKS, finding, read_opening
from lib.demo.recording import OPENING_FOLDER

VIEW = {"strategy": "linear_probe", "run_id": "r", "score": 0.5, "on_lesions": 0.2, "typical": 0.1}
ABOUT = {
    "image_id": "i", "class_name": "Severe", "num_looked_at": 7, "lesion_area": 0.05, "finding": "It is so.",
    "views": [{"network": name, **VIEW} for name in NETWORKS],
}  # fmt: skip


def write(folder, content):
    target = folder / OPENING_FOLDER
    target.mkdir()
    write_json(target / ABOUT_FILE, content)
    for name in (EYE_FILE, *(f"{name}.jpg" for name in NETWORKS)):
        (target / name).write_bytes(b"jpeg")
    return target


def test_the_picture_says_by_what_rule_it_was_chosen(tmp_path):
    write(tmp_path, ABOUT)
    found = read_opening(tmp_path)
    assert found is not None
    assert [view.network for view in found.views] == list(NETWORKS)
    assert "of the 7 bleeding eyes" in found.rule
    assert "+0.10 (tuned)" in found.rule


@pytest.mark.parametrize("damage", ["nothing", "a picture", "a field", "the text"])
def test_without_a_whole_picture_there_is_none(tmp_path, damage):
    if damage != "nothing":
        target = write(
            tmp_path, {key: value for key, value in ABOUT.items() if damage != "a field" or key != "finding"}
        )
        if damage == "a picture":
            (target / "tuned.jpg").unlink()
        if damage == "the text":
            (target / ABOUT_FILE).write_text("{", "utf-8")
    assert read_opening(tmp_path) is None


def test_the_finding_is_said_whatever_came_of_it():
    kappas = {"linear_probe": 0.5, "full_finetuning": 0.7, "from_scratch": 0.1}
    assert "0.50, full fine-tuning 0.70, more than that" in finding(kappas, "full_finetuning")
    assert "full fine-tuning 0.40, no more than that" in finding({**kappas, "full_finetuning": 0.4}, "full_finetuning")


def test_the_share_of_a_map_on_lesions():
    lesions = np.zeros((8, 8), dtype=bool)
    lesions[:, :4] = True
    assert opening._share_on(np.array([[1.0, 0.0], [1.0, 0.0]]), lesions) > 0.8
    assert opening._share_on(np.ones((2, 2)), lesions) == pytest.approx(0.5)
    assert opening._share_on(np.zeros((2, 2)), lesions) == 0.0


def test_the_recording_that_ships_has_its_picture():
    found = read_opening()
    assert found is not None
    tuned = next(view for view in found.views if view.network == "tuned")
    assert tuned.on_lesions > found.lesion_area  # what the rule chose by
