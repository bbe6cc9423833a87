"""Classes from a label file, in all the forms in which people have them, and everything that may be wrong with one."""

import os

import pytest

from lib.data.importing import import_folder, resolve_dataset
from lib.errors import UserError
from tests.data.folders import picture
from tests.data.sources.trees import classes, groups, reasons, scan, splits, touch, write_csv

FLAT = ("1.png", "2.png", "3.png", "4.png")
EXPECTED = {"1.png": "a", "2.png": "b", "3.png": "a", "4.png": "b"}


def flat(root, names=FLAT):
    return touch(root, *names)


@pytest.mark.parametrize(
    ("header", "with_suffix"),
    [
        (("image", "level"), False),
        (("id_code", "diagnosis"), False),
        (("path", "class"), True),
        (("Image name", "Retinopathy grade"), True),
        (("picture", "kind of animal"), True),
    ],
)
@pytest.mark.parametrize("place", ["inside", "beside", "named"])
def test_a_flat_folder_with_a_label_file(tmp_path, header, with_suffix, place):
    root = flat(tmp_path / "set")
    path = {"inside": root, "beside": tmp_path, "named": tmp_path / "far"}[place] / "labels.csv"
    write_csv(path, header, [(name if with_suffix else name[:-4], label) for name, label in EXPECTED.items()])
    found = scan(root, labels=(str(path),) if place == "named" else ())
    assert classes(found) == EXPECTED
    assert found.left_out == []
    assert found.notices == (f"Labels from labels.csv: image in column {header[0]}, class in {header[1]}.",)


def test_images_in_one_sub_folder_with_labels_above(tmp_path):
    touch(tmp_path, *(f"train_images/{name}" for name in FLAT), "readme.txt")
    write_csv(
        tmp_path / "train.csv", ("id_code", "diagnosis"), [(name[:-4], label) for name, label in EXPECTED.items()]
    )
    found = scan(tmp_path)
    assert classes(found) == {f"train_images/{name}": label for name, label in EXPECTED.items()}
    assert list(reasons(found)) == ["readme.txt"]


def test_parts_with_label_files_of_their_own(tmp_path):
    touch(tmp_path, *(f"{part}/{name}" for part in ("train", "test") for name in FLAT))
    write_csv(
        tmp_path / "trainLabels.csv", ("image", "level"), [(name[:-4], label) for name, label in EXPECTED.items()]
    )
    write_csv(
        tmp_path / "testLabels.csv",
        ("image", "level"),
        [(name[:-4], "ba"[label == "b"]) for name, label in EXPECTED.items()],
    )
    found = scan(tmp_path)
    assert {path: label for path, label in classes(found).items() if path.startswith("train")} == {
        f"train/{name}": label for name, label in EXPECTED.items()
    }
    assert classes(found)["test/1.png"] == "b"
    assert splits(found)["train/1.png"] == "train"
    assert splits(found)["test/1.png"] == "test"


def test_one_label_file_for_both_parts(tmp_path):
    touch(tmp_path, "train/1.png", "train/2.png", "test/3.png", "test/4.png")
    write_csv(
        tmp_path / "trainLabels.csv", ("image", "level"), [(name[:-4], label) for name, label in EXPECTED.items()]
    )
    assert classes(scan(tmp_path)) == {
        "train/1.png": "a", "test/3.png": "a", "train/2.png": "b", "test/4.png": "b",
    }  # fmt: skip


def test_a_part_without_labels_is_refused_and_left_out_on_request(tmp_path):
    touch(tmp_path, *(f"train/{name}" for name in FLAT), "test/5.png", "test/6.png")
    write_csv(
        tmp_path / "trainLabels.csv", ("image", "level"), [(name[:-4], label) for name, label in EXPECTED.items()]
    )
    write_csv(tmp_path / "sampleSubmission.csv", ("image", "level"), [("5", 0), ("6", 0)])
    with pytest.raises(
        UserError, match=r"2 images of test/ .* have no label.*testLabels.csv.*--labels trainLabels.csv"
    ):
        scan(tmp_path)
    found = scan(tmp_path, labels=(str(tmp_path / "trainLabels.csv"),))
    assert set(classes(found)) == {f"train/{name}" for name in FLAT}
    assert set(reasons(found)) == {"test/5.png", "test/6.png", "sampleSubmission.csv"}
    assert "The 2 images of test/ are not used" in found.notices[1]


def test_a_patient_column_and_eyes_in_the_names(tmp_path):
    touch(tmp_path / "a", *FLAT)
    write_csv(
        tmp_path / "a" / "l.csv",
        ("path", "class", "Patient ID", "eye"),
        [(n, c, int(n[0]) // 3, "left") for n, c in EXPECTED.items()],
    )
    found = scan(tmp_path / "a")
    assert groups(found) == {"1.png": "0", "2.png": "0", "3.png": "1", "4.png": "1"}
    assert {entry.laterality for entry in found.entries} == {"left"}
    touch(tmp_path / "b", "10_left.jpeg", "10_right.jpeg", "11_left.jpeg")
    write_csv(tmp_path / "b" / "trainLabels.csv", ("image", "level"), [("10_left", 0), ("10_right", 2), ("11_left", 0)])
    assert groups(scan(tmp_path / "b")) == {"10_left.jpeg": "10", "10_right.jpeg": "10", "11_left.jpeg": "11"}


def test_a_group_column_of_the_label_file_or_of_metadata(tmp_path):
    flat(tmp_path)
    write_csv(tmp_path / "labels.csv", ("path", "class", "site"), [(n, c, "s" + n[0]) for n, c in EXPECTED.items()])
    assert groups(scan(tmp_path, group_column="site", class_column="class"))["3.png"] == "s3"
    write_csv(tmp_path / "metadata.csv", ("path", "ward"), [(name, "w") for name in FLAT[:3]])
    found = scan(tmp_path, group_column="ward", class_column="class")
    assert groups(found) == {"1.png": "w", "2.png": "w", "3.png": "w"}
    assert list(reasons(found)) == ["4.png"]
    with pytest.raises(UserError, match="no column 'room'; it has: path, class, site"):
        scan(tmp_path, group_column="room", class_column="class")


def test_metadata_with_classes_labels_a_flat_folder(tmp_path):
    flat(tmp_path)
    write_csv(tmp_path / "metadata.csv", ("file_name", "label"), EXPECTED.items())
    assert classes(scan(tmp_path)) == EXPECTED


def test_whole_numbers_saved_with_a_point(tmp_path):
    flat(tmp_path)
    write_csv(tmp_path / "labels.csv", ("image", "level"), [("1", "0.0"), ("2", "1.0"), ("3", "1"), ("4", "0")])
    assert classes(scan(tmp_path)) == {"1.png": "0", "2.png": "1", "3.png": "1", "4.png": "0"}


def test_paths_of_another_machine(tmp_path):
    flat(tmp_path)
    write_csv(tmp_path / "labels.csv", ("path", "class"), [(f"C:\\data\\images\\{n}", c) for n, c in EXPECTED.items()])
    assert classes(scan(tmp_path)) == EXPECTED


def test_class_folders_go_before_a_table_that_says_the_same(tmp_path):
    touch(tmp_path, "cat/1.png", "dog/2.png", "dog/3.png")
    write_csv(tmp_path / "labels.csv", ("path", "class"), [("1.png", 0), ("2.png", 1), ("3.png", 1)])
    found = scan(tmp_path)
    assert found.class_names == ("cat", "dog")
    assert list(reasons(found)) == ["labels.csv"]


def test_class_folders_and_a_table_that_says_otherwise_are_not_guessed_between(tmp_path):
    touch(tmp_path, "site1/1.png", "site1/2.png", "site2/3.png", "site2/4.png")
    write_csv(tmp_path / "labels.csv", ("path", "class"), EXPECTED.items())
    with pytest.raises(
        UserError, match=r"class folders \(site1, site2\), and labels.csv has other classes .*--labels folders"
    ):
        scan(tmp_path)
    assert scan(tmp_path, labels=("folders",)).class_names == ("site1", "site2")
    assert scan(tmp_path, labels=(str(tmp_path / "labels.csv"),)).class_names == ("a", "b")


def test_rows_without_file_and_files_without_row_are_listed(tmp_path):
    flat(tmp_path)
    write_csv(tmp_path / "labels.csv", ("path", "class"), [*list(EXPECTED.items())[:3], ("9.png", "a")])
    assert reasons(scan(tmp_path)) == {
        "4.png": "no row in labels.csv",
        "9.png": "row 5 of labels.csv names it, but there is no such image",
    }


def rows_of(**changes):
    return list({**{str(n): n % 5 for n in range(10)}, **changes}.items())


BAD = {
    "nothing left": ([("x", 0), ("y", 1)], "None of the 1 images of class '0'"),
    "a class without images": ([("1", 0), ("2", 1), ("x", 2)], "None of the 1 images of class '2' .*row 4 names 'x'"),
    "grade 7": (rows_of(**{"7": 7}), "Row 9 of .* has '7' in column 'level', where the other rows have grades 0 to 4"),
    "no number": (rows_of(**{"7": "?"}), "Row 9 of .* has '\\?' in column 'level'"),
    "NaN": (rows_of(**{"3": "NaN"}), "Row 5 of .* has no class in column 'level' \\('NaN'\\)"),
    "empty": (rows_of(**{"3": ""}), "Row 5 of .* has no class .*it is empty"),
    "contradiction": (
        [*rows_of(), ("3.png", 0)],
        "Rows 5 and 12 of .* give 3.png different values for its class: '3' and '0'",
    ),
    "one class": ([(str(n), 1) for n in range(10)], "names only one class"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_refused_in_a_sentence(tmp_path, case):
    rows, message = BAD[case]
    root = touch(tmp_path / "set", *(f"{number}.png" for number in range(10)))
    write_csv(root / "labels.csv", ("image", "level"), rows)
    with pytest.raises(UserError, match=message) as caught:
        scan(root)
    assert "\n" not in str(caught.value)


def test_ten_digits_are_no_grades(tmp_path):
    touch(tmp_path, *(f"{number}.png" for number in range(10)))
    write_csv(tmp_path / "labels.csv", ("image", "label"), [(str(n), n) for n in range(10)])
    assert len(scan(tmp_path).class_names) == 10


def test_one_name_in_two_folders_is_refused_with_both_paths(tmp_path):
    touch(tmp_path, "x/1.png", "y/1.png", "y/2.png")
    path = write_csv(tmp_path / "labels.csv", ("image", "label"), [("1", "a"), ("2", "b")])
    with pytest.raises(UserError, match=r"Row 2 of .* names '1', which lies in two places: x/1.png and y/1.png"):
        scan(tmp_path, labels=(str(path),))
    write_csv(path, ("image", "label"), [("x/1", "a"), ("y/1", "b"), ("2", "b")])
    assert classes(scan(tmp_path, labels=(str(path),))) == {"x/1.png": "a", "y/1.png": "b", "y/2.png": "b"}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            ("image", "age", "height"),
            "several columns that may hold the classes; its columns are: image, age, height. Choose",
        ),
        (("image",), "no column that may hold the classes; its columns are: image. Choose one with --class-column"),
        (
            ("foo", "level"),
            "No column of .* names images of the folder; its columns are: foo, level. Choose one with --im",
        ),
        (("image", "level", "diagnosis"), "several columns"),
    ],
)
def test_a_table_without_a_usable_column_names_those_it_has(tmp_path, header, message):
    flat(tmp_path)
    names = [name if header[0] == "image" else f"no {name}" for name in FLAT]
    write_csv(
        tmp_path / "labels.csv",
        header,
        [(name, *(k % 2, k // 2)[: len(header) - 1]) for k, name in enumerate(names)],
    )
    with pytest.raises(UserError, match=message) as caught:
        scan(tmp_path)
    assert "4 images but no class folders" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_are_chosen(tmp_path):
    flat(tmp_path)
    write_csv(
        tmp_path / "labels.csv", ("n", "file", "age", "sex"), [(5 - k, n, k % 2, k // 3) for k, n in enumerate(FLAT)]
    )
    assert classes(scan(tmp_path, class_column="age")) == {"1.png": "0", "2.png": "1", "3.png": "0", "4.png": "1"}
    with pytest.raises(UserError, match="no column 'size'"):
        scan(tmp_path, class_column="size", labels=(str(tmp_path / "labels.csv"),))
    with pytest.raises(UserError, match="cannot hold both"):
        scan(tmp_path, class_column="file", image_column="file", labels=(str(tmp_path / "labels.csv"),))


def test_a_pipe_among_the_tables_is_passed_over(tmp_path):
    flat(tmp_path)
    os.mkfifo(tmp_path / "trainLabels.csv")
    write_csv(tmp_path / "labels.csv", ("path", "class"), EXPECTED.items())
    assert classes(scan(tmp_path)) == EXPECTED


def write_eyes(root, num_patients=12):
    names = [f"{patient}_{eye}" for patient in range(num_patients) for eye in ("left", "right")]
    root.mkdir(parents=True)
    for seed, name in enumerate(names):
        picture(seed).save(root / f"{name}.png")
    write_csv(root / "trainLabels.csv", ("image", "level"), [(name, seed % 2) for seed, name in enumerate(names)])
    return root


def test_a_changed_label_file_is_read_again(tmp_path):
    root = write_eyes(tmp_path / "eyes")
    first = resolve_dataset(root)
    assert first.class_names == ("0", "1")
    before = first.table["target"].tolist()
    assert resolve_dataset(root).description["created_s"] == first.description["created_s"]
    text = (root / "trainLabels.csv").read_text()
    (root / "trainLabels.csv").write_text(text.replace("\n0_left,0", "\n0_left,1"))
    second = resolve_dataset(root)
    assert second.version != first.version
    assert sum(second.table["target"]) == sum(before) + 1


def test_a_named_label_file_is_named_for_later_imports_too(tmp_path, monkeypatch):
    root = write_eyes(tmp_path / "eyes")
    (root / "trainLabels.csv").rename(tmp_path / "far.csv")
    with pytest.raises(UserError, match=r"There is no label file nowhere\.csv"):
        import_folder(root, labels="nowhere.csv")
    monkeypatch.chdir(tmp_path)
    first = import_folder(root, labels="far.csv")
    monkeypatch.chdir(root)
    assert resolve_dataset(root).description["created_s"] == first.description["created_s"]
    (tmp_path / "far.csv").unlink()
    with pytest.raises(UserError, match=r"There is no file .*far\.csv"):
        resolve_dataset(root)


def test_grading_sheets_of_idrid(tmp_path):
    """Two sheets in a folder of their own, with names that begin anew in each part and empty columns behind."""
    images, sheets = tmp_path / "1. Original Images", tmp_path / "2. Groundtruths"
    touch(images, *(f"a. Training Set/IDRiD_{n:03}.jpg" for n in range(1, 5)))
    touch(images, *(f"b. Testing Set/IDRiD_{n:03}.jpg" for n in range(1, 3)))
    header = ("Image name", "Retinopathy grade", "Risk of macular edema ", "", "", "")
    for part, number in (("a. IDRiD_Disease Grading_Training", 4), ("b. IDRiD_Disease Grading_Testing", 2)):
        rows = [
            (f"IDRiD_{n:03}", n % 2 if "Train" in part else 1 - n % 2, n % 2 + 1, "", "", "")
            for n in range(1, number + 1)
        ]
        write_csv(sheets / f"{part} Labels.csv", header, rows)
    found = scan(tmp_path)
    training, testing = ("1. Original Images/a. Training Set/IDRiD_", "1. Original Images/b. Testing Set/IDRiD_")
    assert classes(found) == {
        **{f"{training}{n:03}.jpg": str(n % 2) for n in range(1, 5)},
        **{f"{testing}{n:03}.jpg": str(1 - n % 2) for n in range(1, 3)},
    }
    assert set(splits(found).values()) == {"train", "test"}
    assert set(classes(scan(tmp_path, class_column="Risk of macular edema")).values()) == {"1", "2"}


def test_adjudicated_grades_of_messidor_2(tmp_path):
    """Images that nobody can grade have no grade; the table names files by the suffix that they had once."""
    touch(tmp_path, "IM1.jpg", "IM2.JPG", "IM3.jpg", "x_PP.png")
    header = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")
    rows = [("IM1.jpg", 0, 0, 1), ("IM2.jpg", 1.0, 0, 1), ("IM3.jpg", "", "", 0), ("x_PP.tif", 0, 0, 1)]
    write_csv(tmp_path / "messidor_data.csv", header, rows)
    found = scan(tmp_path)
    assert classes(found) == {"IM1.jpg": "0", "x_PP.png": "0", "IM2.JPG": "1"}
    assert reasons(found) == {"IM3.jpg": "row 4 of messidor_data.csv says that it cannot be graded"}
    rows[2] = ("IM3.jpg", "", "", 1)
    write_csv(tmp_path / "messidor_data.csv", header, rows)
    with pytest.raises(UserError, match=r"Row 4 of .* has no class in column 'adjudicated_dr_grade'"):
        scan(tmp_path)


def test_a_grade_of_an_image_that_cannot_be_graded_is_flagged(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    write_csv(tmp_path / "labels.csv", ("image", "level", "gradable"), [("1", 0, "no"), ("2", 1, "yes")])
    assert [entry.flags for entry in scan(tmp_path).entries] == ["ungradable", ""]


def test_labels_that_differ_in_case_and_blanks_alone_are_one_class(tmp_path):
    flat(tmp_path, ("1.png", "2.png", "3.png", "4.png", "5.png"))
    labels = ("No DR", "no dr", "No_DR", "Mild ", "mild")
    write_csv(tmp_path / "l.csv", ("image", "label"), enumerate(labels, 1))
    found = scan(tmp_path)
    assert found.class_names == ("Mild", "No DR")
    assert list(classes(found).values()) == ["Mild", "Mild", "No DR", "No DR", "No DR"]
    assert "count as one: 'Mild' (also 'mild'); 'No DR' (also 'No_DR', 'no dr')." in found.notices[0]


def test_single_letters_of_both_cases_stay_apart(tmp_path):
    write_csv(flat(tmp_path) / "l.csv", ("image", "label"), [("1", "a"), ("2", "A"), ("3", "a"), ("4", "A")])
    assert scan(tmp_path).class_names == ("A", "a")


def test_grades_with_a_decimal_comma(tmp_path):
    rows = [(name, label) for name, label in zip(FLAT, ("0,0", "1,0", "0,0", "1,5"), strict=True)]
    write_csv(flat(tmp_path) / "l.csv", ("image", "grade"), rows, delimiter=";")
    assert scan(tmp_path).class_names == ("0", "1", "1,5")


def test_names_in_another_encoding_are_refused_not_lost(tmp_path):
    touch(tmp_path, "Übung.png", "1.png", "2.png")
    rows = [("Übung.png", "a"), ("1.png", "a"), ("2.png", "b")]
    write_csv(tmp_path / "l.csv", ("image", "label"), rows, encoding="latin-1")
    with pytest.raises(UserError, match=r"Row 2 .*no UTF-8 text \('.bung.png'\).* save the table as UTF-8"):
        scan(tmp_path)


def test_a_column_of_parts_divides_the_images(tmp_path):
    rows = [
        (name, label, part)
        for (name, label), part in zip(EXPECTED.items(), ("Train", "train", "test", "valid"), strict=True)
    ]
    write_csv(flat(tmp_path / "set") / "l.csv", ("image", "kind", "split"), rows)
    found = scan(tmp_path / "set", class_column="kind")
    assert splits(found) == {"1.png": "train", "2.png": "train", "3.png": "test", "4.png": "val"}
    assert found.notices == ("Labels from l.csv: image in column image, class in kind, part in split.",)
    write_csv(tmp_path / "set" / "l.csv", ("image", "kind", "split"), [*rows[:3], ("4.png", "b", "")])
    with pytest.raises(UserError, match=r"Row 5 .*no part in column 'split'"):
        scan(tmp_path / "set", class_column="kind")
    write_csv(
        tmp_path / "set" / "l.csv", ("image", "label", "set"), [(*row[:2], number) for number, row in enumerate(rows)]
    )
    assert set(splits(scan(tmp_path / "set")).values()) == {""}  # a column of that name that says something else


@pytest.mark.parametrize("top", ["sep=;\r\n", "\r\n\r\n", ";;\r\n"])
def test_lines_above_the_names_of_the_columns(tmp_path, top):
    text = top + "image;label\r\n" + "".join(f"{name};{label}\r\n" for name, label in EXPECTED.items())
    (flat(tmp_path) / "l.csv").write_bytes(text.encode())
    assert classes(scan(tmp_path)) == EXPECTED


def test_a_table_without_names_of_columns_loses_no_row(tmp_path):
    (flat(tmp_path) / "l.csv").write_text("".join(f"{name},{label}\n" for name, label in EXPECTED.items()))
    with pytest.raises(UserError, match=r"first row \(1.png, a\) names an image already. Write a row"):
        scan(tmp_path)


def test_numbers_that_lost_their_zeros_are_seen_beside_a_name(tmp_path):
    write_csv(flat(tmp_path, ("0001.png", "0002.png")) / "l.csv", ("image", "label"), [("1", "a"), ("2", "b")])
    with pytest.raises(UserError, match=r"row 2 names '1', files are called such as '0001.png'"):
        scan(tmp_path)
