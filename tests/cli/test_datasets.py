import json
import shutil
from pathlib import Path

import pytest

from lib import jobs
from lib.data.grades import GRADE_NAMES
from lib.data.library import list_datasets, open_dataset
from lib.data.sources.catalogue import SOURCES
from lib.settings import datasets_dir
from lib.training.config import TrainConfig
from tests.cli.conftest import write_images
from tests.data.folders import picture, write_classes
from tests.data.sources.archives import tar_with, zip_of
from tests.data.sources.test_excel import write_workbook
from tests.run_store import make_run_store


def test_import_show_delete_and_restore(command, images):
    (images / "warm" / "notes.txt").write_text("not an image")
    imported = command("datasets", "import", images, "--name", "colours", "--json")
    assert imported.status == 0
    facts = json.loads(imported.out.splitlines()[-1])
    assert (facts["name"], facts["num_images"], facts["class_names"]) == ("colours", 24, ["cold", "warm"])
    assert sum(row["count"] for row in facts["counts"]) == 24
    assert [row["path"] for row in facts["left_out"]] == ["warm/notes.txt"]

    listed = json.loads(command("datasets", "list", "--json").out.splitlines()[-1])
    assert [row["name"] for row in listed["datasets"]] == ["colours"]
    shown = command("datasets", "show", "colours")
    assert "warm/notes.txt" in shown.out
    assert "train" in shown.out

    deleted = command("datasets", "delete", "colours")
    assert "Undo with: python -m lib datasets restore " in deleted.out
    assert "No data sets yet" in command("datasets", "list").err
    key = deleted.out.split()[-1]
    assert command("datasets", "restore", key).status == 0
    assert "colours" in command("datasets", "list").out


def test_names_in_medical_images_become_pseudonyms_unless_that_is_declined(command, images):
    told = command("datasets", "import", images, "--name", "clinic", "--medical")
    assert "names of files and patients become pseudonyms" in told.err
    assert open_dataset("clinic").has_pseudonyms
    command("datasets", "import", images, "--name", "clinic", "--no-medical")
    assert open_dataset("clinic").has_pseudonyms  # as in the last import
    command("datasets", "import", images, "--name", "named", "--medical", "--no-pseudonyms")
    assert open_dataset("named").table["path"][0] == "cold/0.png"


@pytest.mark.slow
def test_the_generated_set_is_made_once(command):
    made = command("datasets", "make", "synthetic-fundus", "--per-class", 6, "--size", 64, "--seed", 3, "--json")
    assert made.status == 0
    facts = json.loads(made.out.splitlines()[-1])
    assert (facts["num_images"], facts["store_side_px"], facts["left_out"]) == (30, 64, [])


@pytest.mark.slow
def test_a_set_of_one_kind_of_ungradable_images_is_made_for_checks(command):
    options = ("--ungradable-share", 1, "--ungradable-kinds", "blurred, covered by haze")
    made = command("datasets", "make", "synthetic-fundus", "--per-class", 6, "--size", 64, *options, "--json")
    assert made.status == 0
    # The import may add a remark of its own after the fault, such as that no retina was found.
    flags = open_dataset("synthetic-fundus").table["flags"].str.split(";").str[0].value_counts().to_dict()
    assert {flag.partition(": ")[2]: number for flag, number in flags.items()} == {"blurred": 15, "covered by haze": 15}
    # Other faults are another set.
    command("datasets", "make", "synthetic-fundus", "--per-class", 6, "--size", 64)
    assert open_dataset("synthetic-fundus").table["flags"].str.startswith("ungradable").sum() == 1


def test_the_generated_sets_options_and_their_limits(command):
    said = command("datasets", "make", "--help").out
    for words in (
        "--per-class",
        "default: 200",
        "--size",
        "default: 512",
        "--seed",
        "--ungradable-share",
        "default: 0.04",
        "--ungradable-kinds",
    ):
        assert words in said
    for number in (-1, 1, 4, 100_001):  # one rule, and so one sentence
        answer = command("datasets", "make", "synthetic-fundus", "--per-class", number)
        assert (answer.status, answer.err) == (
            2, f"Error: The images per class must be 5 to 100000 (two a patient), not {number}.\n"
        )  # fmt: skip
    wrong = (
        ("--size", 20),
        ("--per-class", "few"),
        ("--seed", -1),
        ("--ungradable-share", 2),
        ("--ungradable-kinds", "foggy"),
    )
    for option in wrong:
        assert command("datasets", "make", "synthetic-fundus", *option).status == 2


def test_a_folder_without_classes_is_explained(command, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    one = write_images(tmp_path / "one")
    for path in (one / "warm").iterdir():
        path.unlink()
    (one / "warm").rmdir()
    for folder, expected in ((tmp_path / "none", "There is no folder"), (empty, "is empty"), (one, "only one class")):
        answer = command("datasets", "import", folder)
        assert answer.status == 2
        assert expected in answer.err
        assert answer.err.count("\n") == 1


KAGGLE = ("Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe")


@pytest.fixture
def graded(tmp_path) -> Path:
    """Noise in the five grades, in folders whose alphabet is not their order."""
    return write_classes(tmp_path / "eyes", dict.fromkeys(KAGGLE, 6))


def _json(answer) -> dict:
    assert answer.status == 0, answer.err
    return json.loads(answer.out.splitlines()[-1])


def test_what_is_suggested_is_said_and_set_only_where_it_is_asked_for(command, graded):
    answer = command("datasets", "import", graded, "--json")
    facts = _json(answer)
    assert (facts["is_ordinal"], facts["is_medical"], facts["class_names"]) == (False, False, list(KAGGLE))
    assert set(facts["suggestions"]) == {"is_ordinal", "is_medical", "classes"}
    reason = facts["suggestions"]["is_medical"]["reason"]
    assert "No_DR" in reason
    assert f"Suggested: --medical ({reason})" in answer.err
    assert "python -m lib datasets change eyes --suggested" in answer.err

    changed = command("datasets", "change", "eyes", "--suggested", "--json")
    after = _json(changed)
    assert (after["is_ordinal"], after["is_medical"], after["class_names"]) == (True, True, list(GRADE_NAMES))
    assert (after["was_version"], after["earlier_versions"]) == (facts["version"], [facts["version"]])
    undo = changed.err.splitlines()[-1].split("python -m lib ")[1].split()
    assert _json(command(*undo, "--json"))["version"] == facts["version"]
    assert _json(command("datasets", "import", graded, "--json"))["version"] == facts["version"]


def test_the_import_takes_what_is_suggested_and_what_is_asked_for_goes_first(command, graded):
    answer = command(
        "datasets", "import", graded, "--suggested", "--no-medical", "--classes", "Mild=a little", "--json"
    )
    facts = _json(answer)
    assert (facts["is_ordinal"], facts["is_medical"]) == (True, False)
    assert facts["class_names"] == ["No_DR", "a little", "Moderate", "Severe", "Proliferate_DR"]  # in their order
    assert facts["class_sources"] == ["No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR"]
    assert "Taken as suggested: --ordinal" in answer.err


def test_kind_names_order_and_crop_are_options_of_the_import(command, graded):
    facts = _json(
        command("datasets", "import", graded, "--ordinal", "--medical", "--crop-policy", "retina_box", "--order",
                "No_DR,Mild,Moderate,Severe,Proliferate_DR", "--classes", '"none, at all",1,2,3,4', "--json")
    )  # fmt: skip
    assert facts["class_names"] == ["none, at all", "1", "2", "3", "4"]
    assert (facts["is_ordinal"], facts["is_medical"], facts["crop_policy"]) == (True, True, "retina_box")
    assert set(facts["suggestions"]) == {"classes"}
    shown = command("datasets", "show", "eyes").out
    assert "is_ordinal        yes" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--classes", "Milt=x"), "There is no class 'Milt'"),
        (("--classes", "a,b,c,d,a"), "'a' is given twice"),
        (("--classes", "Mild=x,Mild=y"), "'Mild' is given twice"),
        (("--classes", "a,b"), "2 class names"),
        (("--classes", "a,b,c,d,"), "not empty"),
        (("--classes", ""), "0 class names"),
        (("--order", "Mild,Severe"), "The order lacks the class 'Moderate'"),
        (("--order", "rose"), "There is no class 'rose'"),
        (("--ordinal",), 'give the order too, such as --order "No_DR,Mild'),
        (("--crop-policy", "round"), "'round' is not one of"),
    ],
)
def test_what_will_not_do_is_one_line_and_changes_nothing(command, graded, arguments, expected):
    for words in (("import", graded), ("change", "eyes")):
        if words[0] == "change":
            command("datasets", "import", graded)
        answer = command("datasets", *words, *arguments)
        assert (answer.status, answer.err.count("\n")) == (2, 1)
        assert expected in answer.err
        assert len(list_datasets()) == (words[0] == "change")
    assert (open_dataset("eyes").class_names, len(open_dataset("eyes").versions)) == (KAGGLE, 1)


def test_changes_of_nothing_and_of_what_is_not_there_are_explained(command, graded):
    command("datasets", "import", graded)
    for arguments, expected in (
        (("nothing", "--ordinal"), "There is no data set"),
        (("eyes",), "Nothing to change: give --ordinal"),
        (("eyes", "--to-version", "12345"), "version 12345"),
        (("eyes", "--to-version", "12345", "--medical"), "give it alone"),
    ):
        answer = command("datasets", "change", *arguments)
        assert (answer.status, answer.err.count("\n")) == (2, 1)
        assert expected in answer.err
    assert "says so already" in command("datasets", "change", "eyes", "--no-ordinal").err
    shutil.rmtree(graded)
    gone = command("datasets", "change", "eyes", "--crop-policy", "retina_box", "--medical")
    assert (gone.status, gone.err.count("\n")) == (2, 1)
    assert "originals" in gone.err
    assert not open_dataset("eyes").spec.is_medical  # nothing is changed by half


def test_another_crop_waits_for_the_trainings_that_read_the_images(command, graded):
    command("datasets", "import", graded)
    make_run_store()
    run = jobs.prepare(TrainConfig(dataset="eyes", backbone="mobilenet_v3_small", weights="random"))
    answer = command("datasets", "change", "eyes", "--crop-policy", "retina_box")
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "The images of 'eyes' are read by 1 training at work or in the queue" in answer.err
    run.finish("stopped")
    both = command("datasets", "change", "eyes", "--crop-policy", "retina_box", "--medical")
    assert both.status == 0, both.err
    assert f"--crop-policy center_square, then --to-version {run.config['dataset_version']}" in both.err


def test_sources_are_listed_with_their_options(command):
    said = command("datasets", "sources").out
    assert said.startswith("folder: Folder\n")
    assert "--set path=PATH (required)" in said
    listed = json.loads(command("datasets", "sources", "--json").out.splitlines()[-1])["sources"]
    assert [one["name"] for one in listed] == list(SOURCES.names)
    assert listed[0]["options"][0] == {
        "name": "path", "title": "Folder", "default": None, "choices": [], "help": "Read where it lies.",
        "is_required": True, "kind": "Path",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Nothing to import: give the path of a folder, or a source by --source NAME."),
        (["x", "--source", "foldr"], "Unknown source 'foldr'. Did you mean 'folder'?"),
        (["--source", "folder"], "The source folder needs its option path: folder."),
        (["x", "--set", "nope=1"], "The source folder has no option 'nope'; it knows: path, labels"),
        (["x", "--set", "nope"], "An option is set by --set NAME=VALUE, received 'nope'."),
        (["x", "--set", "pairs=perhaps"], "The option pairs is yes or no, received 'perhaps'."),
    ],
)
def test_what_no_source_takes_is_one_line_and_status_2(command, words, said):
    answer = command("datasets", "import", *words)
    assert answer.status == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_options_of_a_source_are_given_by_set(command, tmp_path):
    folder = write_classes(tmp_path / "pets", {"x": 8})
    (folder / "names.csv").write_text("path,kind\n" + "".join(f"{n}.png,{'ab'[n // 4]}\n" for n in range(8)))
    words = ("datasets", "import", "--source", "folder", "--set", f"path={folder}", "--set", "labels=names.csv")
    answer = command(*words, "--set", "class_column=kind", "--json")
    assert json.loads(answer.out.splitlines()[-1])["class_names"] == ["a", "b"]


def overlapping(root):
    folder = write_classes(root / "set", {"train/a": 4, "train/b": 4, "test/a": 4, "test/b": 4})
    for seed, path in enumerate(folder.glob("test/*/*.png")):  # of another size, so surely no copies
        picture(100 + seed, width=40).save(path)
    rows = [f"{path.relative_to(folder)},{path.parent.name}{path.stem}" for path in sorted(folder.rglob("*.png"))]
    (folder / "metadata.csv").write_text("path,patient\n" + "\n".join(rows))
    return folder


def leading_out(root):
    return tar_with(root / "a.tgz", ("cat/1.png", b"x", {}), ("../../out.png", b"x", {}))


def sheet_without_columns(root):
    folder = write_classes(root / "set", {"": 8})
    write_workbook(folder / "labels.xlsx", S=[("remark", "other"), ("good", "yes"), ("bad", "no")])
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (overlapping, "8 groups (patients) have images in more than one of train/, val/ and test/"),
        (leading_out, "leads out of the archive"),
        (sheet_without_columns, "labels.xlsx was not used as a label file: No column of"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_nothing_is_imported_by_half(command, tmp_path, make, said):
    answer = command("datasets", "import", make(tmp_path))
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert said in answer.err
    assert list_datasets() == []
    assert {path.name for path in datasets_dir().iterdir()} <= {".locks"}


def test_what_is_suggested_is_taken_from_an_archive_too(command, tmp_path):
    folder = write_classes(tmp_path / "eyes", {"none": 4, "mild": 4, "severe": 4})
    packed = zip_of(folder, tmp_path / "eyes.zip")
    answer = command("datasets", "import", packed, "--suggested", "--json")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out.splitlines()[-1])["is_ordinal"]
    assert "12 files, about" in answer.err
    assert "Taken as suggested" in answer.err
    assert (
        "--suggested looks at a folder or an archive"
        in command("datasets", "import", "--source", "eurosat", "--suggested").err
    )
