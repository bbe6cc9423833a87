"""Classes from folders: nothing that was seen is lost in silence."""

from dataclasses import replace

import pytest

from lib.data.importing import listing_of
from lib.errors import UserError
from tests.data.sources.trees import classes, reasons, scan, splits, touch


def test_images_in_sub_folders_of_a_class_are_its_own_and_said(tmp_path):
    touch(tmp_path, "cat/siamese/1.png", "cat/siamese/kitten/2.png", "cat/persian/3.png", "dog/1.png")
    found = scan(tmp_path)
    assert classes(found) == {
        "cat/persian/3.png": "cat",
        "cat/siamese/1.png": "cat",
        "cat/siamese/kitten/2.png": "cat",
        "dog/1.png": "dog",
    }
    assert found.notices == ("Class 'cat': 3 images in its sub-folders (persian, siamese) count as its own.",)
    assert found.left_out == []


def test_a_class_folder_that_holds_itself_is_no_puzzle(tmp_path):
    touch(tmp_path, "cat/cat/1.png", "dog/dog/1.png")
    assert scan(tmp_path).class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("a/x/1.jpg", "a/y/1.jpg", "b/z/1.jpg"), "too deep"),
        (("cat/train/1.jpg", "cat/test/1.jpg", "dog/train/1.jpg", "dog/test/1.jpg"), "too deep"),
        (("cat/1.jpg", "cat/dog/2.jpg", "dog/3.jpg"), "cat/dog/, and dog is a class of its own"),
        (("cat/1.jpg", "dog/masks/1.jpg", "owl/1.jpg"), "dog/ .* only in folders of masks"),
        (("train/1.jpg", "test/2.jpg"), "trainLabels.csv and testLabels.csv"),
        (("train/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg"), "none in train/"),
        (("train/cat/1.jpg", "train/dog/1.jpg", "test/3.jpg"), "1 images of .* for test .*testLabels.csv"),
        (
            ("train/cat/1.jpg", "train/dog/1.jpg", "eval/cat/3.jpg", "test/cat/4.jpg"),
            "eval/ beside train/, with the same",
        ),
        (("train/steam/1.jpg", "train/tram/1.jpg", "car/3.jpg"), "car could be a class"),
        (("images/1.jpg", "images/2.jpg"), "only one class, 'images'"),
    ],
)
def test_where_a_class_or_part_would_be_lost_the_folder_is_refused(tmp_path, files, message):
    with pytest.raises(UserError, match=message) as caught:
        scan(touch(tmp_path, *files))
    assert "\n" not in str(caught.value)


def test_masks_and_thumbnails_inside_a_class_are_left_out(tmp_path):
    touch(tmp_path, "cat/1.jpg", "cat/thumbs/1.jpg", "dog/1.jpg")
    assert reasons(scan(tmp_path)) == {"cat/thumbs/1.jpg": "lies in a folder of masks or thumbnails"}


@pytest.mark.parametrize(
    ("train", "test"),
    [("training_set", "test_set"), ("Training", "Testing"), ("Train Images", "val-images"), ("train2017", "val2017")],
)
def test_split_folders_in_more_spellings(tmp_path, train, test):
    touch(tmp_path, f"{train}/cat/1.jpg", f"{train}/dog/1.jpg", f"{test}/cat/2.jpg", f"{test}/dog/2.jpg")
    found = scan(tmp_path)
    assert found.class_names == ("cat", "dog")
    assert sorted(set(splits(found).values())) in (["test", "train"], ["train", "val"])


def test_doubled_folders_keep_their_test_set(tmp_path):
    touch(tmp_path, "training_set/training_set/cats/1.jpg", "training_set/training_set/dogs/1.jpg")
    touch(tmp_path, "test_set/test_set/cats/2.jpg", "test_set/test_set/dogs/2.jpg")
    found = scan(tmp_path)
    assert classes(found) == {
        "training_set/training_set/cats/1.jpg": "cats",
        "test_set/test_set/cats/2.jpg": "cats",
        "training_set/training_set/dogs/1.jpg": "dogs",
        "test_set/test_set/dogs/2.jpg": "dogs",
    }
    assert set(splits(found).values()) == {"train", "test"}


def test_a_doubled_folder_alone(tmp_path):
    touch(tmp_path, "training_set/training_set/cats/1.jpg", "training_set/training_set/dogs/1.jpg")
    assert scan(tmp_path).class_names == ("cats", "dogs")


def test_a_folder_beside_both_parts_is_listed_and_said(tmp_path):
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg", "extra/1.jpg")
    found = scan(tmp_path)
    assert reasons(found) == {"extra/1.jpg": "lies beside train/, not inside"}
    assert found.notices == ("extra/ is not used (1 images): it lies beside train/.",)


def test_links_to_folders_are_followed_but_in_no_circle(tmp_path):
    touch(tmp_path / "elsewhere", "persian/1.jpg")
    root = touch(tmp_path / "set", "cat/1.jpg", "dog/1.jpg")
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "persian")
    (root / "cat" / "again").symlink_to(root)
    found = scan(root)
    assert list(classes(found)) == ["cat/1.jpg", "cat/more/1.jpg", "dog/1.jpg"]
    assert reasons(found) == {"cat/again": "a link that leads in a circle"}


def test_class_folders_of_the_parts_may_differ_in_case(tmp_path):
    touch(
        tmp_path, "Train/cat/1.png", "Train/cat/2.png", "Train/dog/1.png", "Validation/Cat/3.png", "testing/DOG/4.png"
    )
    found = scan(tmp_path)
    assert found.class_names == ("cat", "DOG")
    assert splits(found)["testing/DOG/4.png"] == "test"
    assert "'cat' (also 'Cat')" in found.notices[-1]


def test_a_set_of_before_spellings_were_joined_is_imported_anew(tmp_path):
    touch(tmp_path, "Cat/1.png", "cat/2.png", "dog/3.png")
    found = scan(tmp_path)
    apart = [replace(entry, class_name=entry.parts[0]) for entry in found.entries]
    assert listing_of(found) != listing_of(replace(found, entries=apart, has_joined=False))
