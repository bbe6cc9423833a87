"""`datasets split`: shown, drawn, kept, written, read again, undone; refused in one line with status 2."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.data.library import open_dataset


@pytest.fixture
def colours(command, images):
    assert command("datasets", "import", images, "--name", "colours").status == 0
    return "colours"


def asked(command, *arguments):
    answer = command("datasets", "split", *arguments, "--json")
    assert answer.status == 0, answer.err
    return json.loads(answer.out.splitlines()[-1])


def images_in(facts, part):
    return sum(row["images"] for row in facts["table"] if row["split"] == part and not row["class_name"])


def test_shown_drawn_kept_written_read_and_undone(command, colours, tmp_path):
    shown = command("datasets", "split", colours)
    assert shown.out.splitlines()[0].split() == [
        "class", "train", "val", "test", "groups", "train", "groups", "val", "groups", "test",
    ]  # fmt: skip
    drawn = asked(command, colours, "--test", "0.5", "--val", "0.25", "--seed", "3")
    assert (images_in(drawn, "test"), images_in(drawn, "val"), drawn["is_kept"]) == (12, 6, False)
    assert open_dataset(colours).version == drawn["version"]

    file = tmp_path / "split.csv"
    kept = asked(command, colours, "--test", "0.5", "--val", "0.25", "--seed", "3", "--save", "--out", file)
    assert (kept["is_kept"], kept["is_by_hand"], images_in(kept, "test")) == (True, True, 12)
    assert kept["version"] != kept["was_version"]
    assert pd.read_csv(file)["split"].tolist() == open_dataset(colours).split(0).tolist()

    let_go = command("datasets", "split", colours, "--anew")
    assert open_dataset(colours).version == kept["was_version"]
    assert f"python -m lib datasets edit {colours} --undo 2" in let_go.err
    read = asked(command, colours, "--from", file, "--save")
    assert read["version"] == kept["version"]
    undone = command("datasets", "edit", colours, "--undo", "3")
    assert undone.status == 0
    assert open_dataset(colours).version == kept["was_version"]
    parquet = tmp_path / "split.parquet"
    asked(command, colours, "--out", parquet)
    assert asked(command, colours, "--from", parquet)["table"] == asked(command, colours)["table"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test", "0.7", "--val", "0.5"], "leave nothing to train"),
        (["--save"], "There is nothing to keep"),
        (["--anew"], "Nothing to change"),
        (["--test", "0.2", "--anew"], "one at a time"),
        (["--out", "split.txt"], ".csv or .parquet"),
        (["--out", "nowhere/split.csv"], "does not exist"),
    ],
)
def test_what_will_not_do_is_one_line(command, colours, arguments, message):
    refused = command("datasets", "split", colours, *arguments)
    assert refused.status == 2
    assert message in refused.err
    assert len(refused.err.strip().splitlines()) == 1


def test_a_file_of_another_set_or_with_overlap_is_refused_and_nothing_is_kept(command, colours, tmp_path):
    file = tmp_path / "split.csv"
    asked(command, colours, "--out", file)
    version, table = open_dataset(colours).version, pd.read_csv(file, dtype=str)
    for change, message in (
        (table.assign(image_id="f" + table["image_id"]), "is a split of another data set"),
        (table.assign(group="one"), "in more than one part"),
        (table.assign(split="all"), "Unknown part 'all'"),
        (table.iloc[:-1], "gives no part to 1"),
    ):
        change.to_csv(file, index=False)
        refused = command("datasets", "split", colours, "--from", file, "--save")
        assert (refused.status, len(refused.err.strip().splitlines())) == (2, 1)
        assert message in refused.err
    assert open_dataset(colours).version == version


def test_a_file_that_parts_near_duplicates_is_refused_and_a_draw_keeps_them_together(command, tmp_path):
    root, generator = tmp_path / "scans", np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(6):
            small = Image.fromarray(generator.integers(0, 255, (12, 12, 3), dtype=np.uint8))
            scan = small.resize((96, 96), Image.Resampling.BICUBIC)
            scan.save(root / name / f"{number}.png")
            if number == 0:
                scan.save(root / name / "copy.jpg", quality=70)
    assert command("datasets", "import", root).status == 0
    dataset, file = open_dataset("scans"), tmp_path / "split.csv"
    for seed in range(3):
        asked(command, "scans", "--test", "0.3", "--val", "0.3", "--seed", seed, "--out", file)
        table = pd.read_csv(file, dtype=str).set_index("path")
        assert table["split"]["a/0.png"] == table["split"]["a/copy.jpg"]
    table.loc["a/0.png", "split"], table.loc["a/copy.jpg", "split"] = "train", "test"
    table.reset_index().to_csv(file, index=False)
    refused = command("datasets", "split", "scans", "--from", file, "--save")
    assert (refused.status, open_dataset("scans").version) == (2, dataset.version)
    assert "1 set of near duplicates would be in more than one part, such as a/0.png (train)" in refused.err
    assert asked(command, "scans", "--from", file, "--no-copies", "--save")["is_kept"]
