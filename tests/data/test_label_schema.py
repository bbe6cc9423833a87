"""What is said of classes, and which version each change of it makes: descriptions alone, without a table or pixels."""

import dataclasses
import re
from typing import Any

import pytest

from lib.data.label_schema import (
    LabelSchema,
    SchemaChange,
    as_of,
    changed_description,
    described,
    open_versions,
    parse_class_names,
    parse_names,
    schema_of,
    stored_sources,
    target_order,
    with_history,
)
from lib.data.specs import DatasetSpec
from lib.errors import UserError

KAGGLE = ("Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe")  # a folder's alphabet
BY_SEVERITY = ("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR")
SCHEMA = LabelSchema(KAGGLE, KAGGLE)


def imported(content: str = "c0", sources: tuple[str, ...] = KAGGLE) -> dict[str, Any]:
    spec = DatasetSpec(name="eyes", title="eyes", class_names=sources)
    return described(content, sources, LabelSchema(sources, sources), spec)


def changed(description: dict[str, Any], **change: Any) -> dict[str, Any]:
    asked = SchemaChange(**change)
    schema = schema_of(description).changed(asked)
    spec = DatasetSpec.from_dict(description["spec"])
    return changed_description(description, schema, dataclasses.replace(spec, class_names=schema.names, **asked.flags))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": {"Milt": "x"}}, "There is no class 'Milt'; the classes are Mild, Moderate"),
        ({"class_names": ("a", "b", "c", "d", "a")}, "'a' is given twice"),
        ({"class_names": {"Mild": "Severe"}}, "'Severe' is given twice"),
        ({"class_names": ("a", "b")}, "2 class names were given for 5 classes"),
        ({"class_names": ("a",)}, "1 class name was given for 5 classes"),
        ({"class_names": ("a", "b", "c", "d", " ")}, "not empty"),
        ({"class_names": {"Mild": "a\x07b"}}, "printable"),
        ({"class_names": {"Mild": "x" * 300}}, "at most 200 letters, received 300"),
        ({"order": ("Mild", "Moderate")}, "The order lacks the class 'No_DR'"),
        ({"order": ("Mild", "Mild", "Moderate", "No_DR", "Severe")}, "names the class 'Mild' twice"),
        ({"order": ("rose",)}, "There is no class 'rose'"),
        ({"is_ordinal": True}, 'give the order too, such as --order "No_DR,Mild,Moderate,Severe,Proliferate_DR"'),
    ],
)
def test_changes_that_will_not_do_are_refused_in_a_sentence(change: dict[str, Any], message: str):
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        SCHEMA.changed(SchemaChange(**change))
    assert "\n" not in str(refused.value)


def test_a_class_is_called_by_its_present_name_or_the_sources_but_given_one_name():
    schema = LabelSchema(("none", "some"), ("0", "1"))
    found = schema.changed(SchemaChange(order=("1", "none"), class_names={"0": " No \n DR ", "some": "none"}))
    assert found == LabelSchema(("none", "No DR"), ("1", "0"))  # names in turn, each without idle blanks
    with pytest.raises(UserError, match="The class 'none' is given two names, 'a' and 'b'; give it one"):
        schema.changed(SchemaChange(class_names={"0": "a", "none": "b"}))


def test_an_order_of_the_source_takes_no_present_name():
    swapped = LabelSchema(("1", "0"), ("0", "1"))
    assert swapped.changed(SchemaChange(order=("0", "1"), is_by_source=True)) == swapped
    assert swapped.changed(SchemaChange(order=("0", "1"))) == LabelSchema(("0", "1"), ("1", "0"))
    renamed = LabelSchema(("no", "yes"), ("0", "1"))
    with pytest.raises(UserError, match="There is no class 'yes'; the classes are 0, 1"):
        renamed.changed(SchemaChange(order=("yes", "no"), is_by_source=True))


def test_grades_in_the_order_of_their_severity_need_no_order():
    in_order = LabelSchema(BY_SEVERITY, BY_SEVERITY)
    assert in_order.changed(SchemaChange(is_ordinal=True)) == in_order
    by_source = LabelSchema(tuple("abcde"), BY_SEVERITY)
    assert by_source.changed(SchemaChange(is_ordinal=True)) == by_source
    with pytest.raises(UserError, match="the classes a, b, c, d, e would count in this order"):
        LabelSchema(tuple("abcde"), KAGGLE).changed(SchemaChange(is_ordinal=True))
    assert SCHEMA.changed(SchemaChange(is_ordinal=True, order=KAGGLE)) == SCHEMA  # as one who says so wants it


def test_names_of_a_line():
    assert parse_names('No DR, "mild, early" ,x') == ["No DR", "mild, early", "x"]
    assert parse_names("") == []
    assert parse_class_names("0=No DR, 1 = a=b") == {"0": "No DR", "1": "a=b"}
    assert parse_class_names("0=No DR,Mild") == ["0=No DR", "Mild"]  # a name may hold the sign
    with pytest.raises(UserError, match="The class name '0' is given twice"):
        parse_class_names("0=a,0=b")
    with pytest.raises(UserError, match=r"in one line, with commas between them.*received 'No DR\\nMild'"):
        parse_names("No DR\nMild")


def test_a_version_says_everything_that_was_set():
    description = imported()
    assert (description["version"], description["format_version"]) == ("c0", 1)
    versions = {"c0"}
    for change in (
        {"is_ordinal": True, "order": KAGGLE}, {"is_medical": True}, {"class_names": {"Mild": "m"}},
        {"order": ("Moderate", "Mild", "No_DR", "Proliferate_DR", "Severe")},
    ):  # fmt: skip
        description = changed(description, **change)
        versions.add(description["version"])
    assert len(versions) == 5
    assert open_versions(description)[-1] == "c0"
    # Whoever knows no versions would take the targets of the table for those of the classes.
    assert description["format_version"] == 2
    assert described("c0", KAGGLE, LabelSchema(BY_SEVERITY, BY_SEVERITY), DatasetSpec(
        name="eyes", title="eyes", class_names=BY_SEVERITY
    ))["format_version"] == 2  # fmt: skip


def test_a_changed_order_says_where_each_class_of_the_table_went_and_undoing_it_is_the_old_version():
    later = changed(imported(), order=BY_SEVERITY, class_names={"No_DR": "none"})
    assert target_order(later) == [1, 2, 0, 4, 3]
    assert stored_sources(later) == list(KAGGLE)
    assert schema_of(later) == LabelSchema(("none", *BY_SEVERITY[1:]), BY_SEVERITY)
    earlier = as_of(later, "c0")
    assert (earlier["version"], schema_of(earlier)) == ("c0", SCHEMA)
    assert as_of(later, None) is as_of(later, later["version"]) is later
    back = changed(later, order=KAGGLE, class_names=KAGGLE)
    assert open_versions(back) == ["c0", later["version"]]
    assert open_versions(changed(back, is_medical=True))[1:] == ["c0", later["version"]]  # the latest comes first
    assert changed(back, order=BY_SEVERITY, class_names={"No_DR": "none"})["version"] == later["version"]


def test_versions_of_other_pixels_are_named_and_not_opened():
    old = changed(imported("c0"), is_medical=True)
    new = with_history(imported("c1"), old)
    assert [entry["version"] for entry in new["history"]] == ["c0", old["version"]]
    assert open_versions(new) == ["c1"]
    with pytest.raises(UserError, match=r"'eyes' is at version c1; its version c0 is not kept, .* imported anew"):
        as_of(new, "c0")
    assert open_versions(with_history(imported("c0"), new)) == ["c0", old["version"]]  # the old pixels are back
    assert with_history(imported("c0"), imported("c0")) == imported("c0")


def test_a_description_of_before_there_were_versions_is_in_the_order_of_its_table():
    old = {"version": "c0", "format_version": 1, "spec": imported()["spec"]}
    assert (target_order(old), stored_sources(old), schema_of(old)) == ([0, 1, 2, 3, 4], list(KAGGLE), SCHEMA)
    later = changed(old, class_names={"Mild": "m"})
    assert (schema_of(later).sources, schema_of(later).names[0]) == (KAGGLE, "m")
    assert schema_of(as_of(later, "c0")) == SCHEMA


def test_an_empty_change_says_nothing():
    assert SchemaChange().is_empty
    assert not SchemaChange(is_medical=False).is_empty
    assert SchemaChange(is_medical=False).flags == {"is_medical": False}
    assert SCHEMA.changed(SchemaChange()) == SCHEMA
