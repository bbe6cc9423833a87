"""A flat folder of graded photographs with its label file, in a real browser: imported, trained, kappa, notice."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from sklearn.metrics import cohen_kappa_score

from lib.atomic import read_json
from lib.data.grades import GRADE_NAMES
from lib.data.library import open_dataset
from lib.grading.grades import MEDICAL_NOTICE
from lib.tracking.state import stored_states

from .conftest import Server
from .test_journey import TRAINING_TIMEOUT_MS, assert_whole, choose_strategy, state_of, wait_until_drawn

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = pytest.mark.browser

PER_GRADE = 10


def draw_photograph(grade: int, seed: int, size_px: int = 96) -> Image.Image:
    """A round field on black with more dark spots the higher the grade."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (size_px, size_px))
    pen = ImageDraw.Draw(image)
    pen.ellipse((3, 3, size_px - 4, size_px - 4), fill=(int(random.integers(170, 200)), 96, 48))
    for x, y in random.integers(26, size_px - 34, (int(1 + 7 * grade), 2)):
        pen.ellipse((int(x), int(y), int(x) + 7, int(y) + 7), fill=(90, 20, 20))
    return image


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Files without folders, and a table `id_code,diagnosis` beside them that names them without extension."""
    folder = tmp_path / "eyes"
    folder.mkdir()
    with (folder / "train.csv").open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(("id_code", "diagnosis"))
        for number in range(5 * PER_GRADE):
            grade = number % 5
            draw_photograph(grade, number).save(folder / f"a{number:03}.png")
            table.writerow((f"a{number:03}", grade))
    return folder


def test_a_labelled_folder_is_imported_trained_and_graded_as_grades(photographs, server: Server, page, tmp_path):
    page.goto(server.link("explore_data", form="import"))
    wait_until_drawn(page)
    folder = page.get_by_label("Folder", exact=True)
    folder.fill(str(photographs))
    folder.press("Enter")
    expect(page.get_by_text("photographs looked at show a round field on black").first).to_be_visible()
    wait_until_drawn(page)
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url("**dataset=eyes**")
    expect(page.get_by_text("The classes are grades, in this order: No DR")).to_be_visible()
    expect(page.get_by_text("research and education only").first).to_be_visible()
    dataset = open_dataset("eyes")
    assert (dataset.class_names, dataset.num_images) == (GRADE_NAMES, 5 * PER_GRADE)
    assert (dataset.spec.is_ordinal, dataset.spec.is_medical, dataset.spec.crop_policy) == (True, True, "retina_box")

    page.goto(server.link("train_model", dataset="eyes"))
    wait_until_drawn(page)
    choose_strategy(page, "Linear probe")
    page.get_by_role("button", name="Start training").click()
    expect(state_of(page)).to_have_text("finished", timeout=TRAINING_TIMEOUT_MS)
    expect(page.get_by_text("kappa").first).to_be_visible()
    run = next(state.folder for state in stored_states() if not state.recorded_on)  # others came with the demo
    table = pd.read_parquet(run / "predictions.parquet")
    tested = table[table["split"] == "test"]
    answers = tested[[f"probability_{k}" for k in range(5)]].to_numpy().argmax(1)
    kappa = cohen_kappa_score(tested["target"], answers, weights="quadratic")
    assert read_json(run / "summary.json")["test_quadratic_weighted_kappa"] == pytest.approx(kappa, abs=1e-12)

    page.get_by_role("link", name="Compare").first.click()
    expect(page.locator("h1")).to_have_text("Compare runs")
    expect(page.locator(".annotation-text", has_text=f"{kappa:.3f}").first).to_be_attached()  # in the picture
    assert_whole(page)
    page.goto(server.link("grade_images", run=run.name))
    expect(page.get_by_text(MEDICAL_NOTICE).first).to_be_visible()
    upload = tmp_path / "new.png"
    draw_photograph(4, 999).save(upload)
    page.locator('input[type="file"]').first.set_input_files(upload)
    expect(page.get_by_text("new.png").first).to_be_visible()
    expect(page.get_by_text(re.compile("Severe|Proliferative|[Uu]nlike")).first).to_be_visible()
    wait_until_drawn(page)
    assert_whole(page)
