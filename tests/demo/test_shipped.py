"""The recording that ships is whole and small enough, and its best run answers the samples as the page needs it."""

import pytest

from lib.demo import recording as recordings
from lib.demo.installation import install, install_dataset_alone
from lib.demo.making import MAX_BYTES
from lib.demo.recording import find_recording, size_table
from lib.demo.samples import (
    GRADES,
    NUM_PLAIN,
    SAMPLES_FOLDER,
    is_doubtful,
    is_plainly_right,
    is_refused_as_spoiled,
    is_right,
)
from lib.demo.story import ARM_NAMES, EPOCHS
from lib.evaluation.verdict import GRADED
from lib.explain.stage_probes import StageQuestion
from lib.grading.grader import Grader
from lib.models.backbones import BACKBONES
from lib.settings import ASSETS_DIR, DEFAULT_BACKBONE
from lib.sweeps.results import arm_results, leader
from lib.sweeps.strategies import StrategySweep


@pytest.fixture
def ours(monkeypatch) -> recordings.Recording:
    monkeypatch.setattr(recordings, "FOLDER", ASSETS_DIR / "demo")
    found = find_recording()
    assert found is not None
    return found


def test_it_is_whole_and_small_enough(ours):
    ours.verify()
    sizes = {name: (ours.folder / name).stat().st_size for name in ours.files}
    assert sum(sizes.values()) <= MAX_BYTES
    assert max(size for name, size in sizes.items() if name.endswith("reference.safetensors")) <= 2 * 2**20
    assert size_table(ours) in (ours.folder / "README.md").read_text()
    assert tuple(ours.runs) == ARM_NAMES
    stray = {str(path.relative_to(ours.folder)) for path in ours.folder.rglob("*") if path.is_file()} - set(sizes)
    assert stray == {"README.md", "recording.json"}


@pytest.mark.slow
def test_its_best_run_answers_the_samples_as_the_page_shows_them(ours):
    install()
    [plan] = StrategySweep.newest_first()
    assert plan.epochs == EPOCHS
    best = leader(arm_results(plan))
    files = sorted(SAMPLES_FOLDER.iterdir())
    grader = Grader.open(best.run_id, device="cpu")
    grades = {grade.name: grade for grade in grader.grade([(path.name, path) for path in files])}
    eyes = {name: grades[f"generated_{target}_{name}.jpg"] for target, name in enumerate(GRADES)}
    plain = [name for target, name in enumerate(GRADES) if is_plainly_right(eyes[name], target)]
    doubtful = [name for target, name in enumerate(GRADES) if is_doubtful(eyes[name], target)]
    assert len(plain) >= NUM_PLAIN
    assert len(doubtful) >= 1
    assert is_refused_as_spoiled(grades["generated_ungradable.jpg"])
    assert is_right(grades["generated_turned.jpg"], 3)
    foreign = [
        grades["generated_red_free.jpg"],
        *(grade for name, grade in grades.items() if name.startswith("other_")),
    ]
    assert len(foreign) == 5
    assert [grade.name for grade in foreign if grade.status == GRADED] == []


@pytest.mark.slow
def test_what_its_images_make_of_the_default_network_is_shown_at_once(ours, home):
    question = StageQuestion(install_dataset_alone(), BACKBONES.get(DEFAULT_BACKBONE))
    assert not question.path.exists()
    assert question.kept_path.parent == ASSETS_DIR / "stages"
    worth = question.kept()
    assert worth is not None
    assert worth.is_complete
    assert [path.name for path in (ASSETS_DIR / "stages").iterdir()] == [question.path.name]
