"""Which images say something of a classifier: none that it has seen and none of a class that it lacks; what is said."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.errors import UserError
from lib.grading import new_images as module
from lib.grading.class_mapping import map_classes
from lib.grading.new_images import mapping_to, new_images, new_test_images, taking_part
from lib.models.seen_images import SeenImages
from tests.features.tiny_dataset import TinyDataset
from tests.moved_run import KeptDataset, manifest_of

OWN = KeptDataset(num_images=30, name="own")


def grader_of(dataset=OWN, *, seen=(), is_complete=True, **config):
    """A classifier of that data set's classes that was fitted on the images in these rows."""
    ids = dataset.table["image_id"].to_numpy()
    return SimpleNamespace(
        manifest=manifest_of(dataset, **config), class_names=dataset.class_names,
        seen=SeenImages.of(ids[list(seen)], [], is_complete=is_complete),
    )  # fmt: skip


def found_in(dataset, grader, *, text=None, **settings):
    classes = mapping_to(grader, dataset, text)
    return new_images(grader, dataset, classes, **{"is_own": False, **settings})


@pytest.fixture
def trained_on(monkeypatch):
    """Lets the training's own data set be in the library, and these rows be near duplicates of its images."""

    def let(rows):
        def near(pixels, asked, known_pixels, known, progress):
            assert known_pixels is OWN.pixels
            return np.where(np.isin(asked, rows), 0, -1)

        monkeypatch.setattr(module, "_trained_dataset", lambda manifest: OWN)
        monkeypatch.setattr(module, "near_duplicates", near)

    return let


def other(**changes):
    return TinyDataset(num_images=20, name="other", version="v2", **changes)


def test_very_files_and_copies_of_training_images_are_left_out_and_counted_apart(trained_on):
    trained_on([2, 7])
    found = found_in(other(), grader_of(seen=(0, 1, 2, 25)))
    assert found.rows.tolist() == [row for row in range(20) if row not in (0, 1, 2, 7)]
    assert (found.num_seen, found.num_near, found.num_unmapped) == (3, 1, 0)  # row 2 counts once
    assert found.notes == (
        "3 of 20 images were left out: the classifier was trained or tuned on these very files.",
        "1 more image is a copy of training images with other bytes (re-encoded, resized or mirrored) and was left out "
        "of 20.",
    )


def test_one_image_is_said_in_the_singular(trained_on):
    trained_on([])
    dataset = other()
    dataset.table["target"] = [2 if row == 4 else row % 2 for row in range(20)]
    dataset.spec = TinyDataset(num_classes=3).spec
    classes = map_classes("other", ("a", "b", "c"), OWN.class_names, "c=-")
    found = new_images(grader_of(seen=(3,)), dataset, classes, is_own=False)
    assert found.notes == (
        "1 image was left out by the mapping, of c.",
        "1 of 19 images was left out: the classifier was trained or tuned on this very file.",
    )
    assert found.num_unmapped == 1
    assert not {3, 4} & set(found.rows)


def test_without_the_training_s_images_copies_are_not_known_of(monkeypatch):
    monkeypatch.setattr(module, "_trained_dataset", lambda manifest: None)
    found = found_in(other(), grader_of(seen=(0,)))
    assert (found.num_seen, found.num_near) == (1, None)
    assert found.notes[-1].startswith("The training's own data set is not in the library, so copies")
    unlisted = found_in(other(), grader_of(is_complete=False))
    assert (len(unlisted.rows), unlisted.num_near) == (20, None)
    (said,) = unlisted.notes  # that there is no list says enough
    assert said.startswith("This classifier keeps no list of its training images")


def test_excluded_images_take_no_part(trained_on):
    trained_on([])
    dataset = other()
    dataset.is_excluded = np.arange(20) >= 5
    assert found_in(dataset, grader_of()).rows.tolist() == [0, 1, 2, 3, 4]


def test_where_nothing_is_left_that_is_one_sentence(trained_on):
    trained_on(range(20))
    with pytest.raises(UserError, match=r"trained or tuned on all 20 images of 'other', so that they say nothing"):
        found_in(other(), grader_of(seen=(0, 1)))
    folds = grader_of(seen=range(30), num_folds=3)
    folds.manifest["metrics"] = {"test_accuracy": 0.75}
    with pytest.raises(UserError, match=r"ones \(its 3 folds reached accuracy 0\.750 on images that they had not"):
        found_in(other(), folds)
    dataset = other()
    dataset.is_excluded = dataset.table["target"].to_numpy() == 0
    with pytest.raises(UserError, match="'other' has no image of a class that the classifier knows"):
        found_in(dataset, grader_of(), text="b=-")


def test_of_its_own_data_set_the_test_images_count_and_copies_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(module, "_near_training", lambda *_: pytest.fail("looked for"))
    split = OWN.split(0)
    grader = grader_of(seen=np.flatnonzero(split == "train"))
    dataset, rows, targets = new_test_images(grader, OWN)
    assert dataset.version == OWN.version
    assert rows.tolist() == np.flatnonzero(split == "test").tolist()
    assert targets.tolist() == OWN.table["target"].to_numpy()[rows].tolist()
    with pytest.raises(UserError, match="trained or tuned on all 30 images of 'own'"):
        new_test_images(grader_of(seen=range(30), num_folds=3), OWN)


def test_another_data_set_takes_part_whole_and_its_own_as_the_training_took_it():
    grader = grader_of(max_per_class=4)
    found, is_own = taking_part(grader, OWN)
    assert (len(found.table), is_own) == (8, True)
    found, is_own = taking_part(grader, other())
    assert (len(found.table), is_own) == (20, False)


def test_classes_of_another_data_set_are_merged_unless_a_mapping_speaks_of_them():
    five = KeptDataset(num_images=30, num_classes=3, name="own")
    grader = grader_of(five, target_map="0,1,1")
    grader.manifest |= {"classes": ["a", "b or c"], "class_map": {"a": "a", "b": "b or c", "c": "b or c"}}
    grader.class_names = ("a", "b or c")
    dataset = other(num_classes=3)
    merged, is_own = taking_part(grader, dataset)
    assert (merged.class_names, is_own) == (("a", "b or c"), False)
    plain, is_own = taking_part(grader, dataset, is_mapped=True)
    assert (plain.class_names, is_own) == (("a", "b", "c"), False)
