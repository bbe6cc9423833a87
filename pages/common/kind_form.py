"""The form fields that say what the classes are: grades, medical, their names and order, the crop of the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from lib.data.grades import severity_order
from lib.data.label_schema import LabelSchema, SchemaChange
from lib.data.schema_suggestion import SchemaSuggestion
from lib.errors import UserError
from pages.common.text import plain

CROP_TITLES = {"center_square": "Centre square (photographs)", "retina_box": "Retina's box (fundus)"}
_LINE_PX, _MAX_LINES = 26, 9
_ORDINAL_HELP = "The classes are grades, lowest first: quadratic kappa, expected grades and the ordinal loss apply."
_MEDICAL_HELP = "Every answer carries the notice that it is for research and education only."
_CROP_HELP = "What is kept of an image that is not square: its centre, or the box round the retina."
_CLASSES_HELP = (
    "One class a line, lowest grade first. Move lines to change the order; write `folder = name` to show another name."
)


@dataclass(frozen=True)
class KindChoice:
    """What the form says; `classes` is in the wanted order."""

    is_ordinal: bool
    is_medical: bool
    crop_policy: str
    classes: LabelSchema

    @property
    def change(self) -> SchemaChange:
        """The same as a change of the data set's classes."""
        return SchemaChange(
            is_ordinal=self.is_ordinal, is_medical=self.is_medical, order=self.classes.sources, is_by_source=True,
            class_names=self.classes.names,
        )  # fmt: skip

    @classmethod
    def of(cls, suggestion: SchemaSuggestion) -> "KindChoice":
        """What is suggested, as a choice."""
        classes = LabelSchema(suggestion.class_names, suggestion.order)
        return cls(suggestion.is_ordinal, suggestion.is_medical, suggestion.crop or "center_square", classes)


def draw_kind(start: KindChoice, *, key: str, reasons: Mapping[str, str], why_no_crop: str = "") -> KindChoice:
    """Draw the fields, filled with `start`; each says why it is suggested.

    Args:
        start: what stands there at first; another `key` starts anew.
        key: tells forms apart.
        reasons: as of `SchemaSuggestion`.
        why_no_crop: the sentence that says why the crop cannot be changed.

    Raises:
        UserError: names or order do not fit the classes.
    """
    fields, names = st.columns(2, gap="large")
    with fields:
        is_ordinal = st.checkbox("Grades, in this order", start.is_ordinal, key=f"{key}_ordinal", help=_ORDINAL_HELP)
        _say_why(reasons, "is_ordinal")
        is_medical = st.checkbox("Medical images", start.is_medical, key=f"{key}_medical", help=_MEDICAL_HELP)
        _say_why(reasons, "is_medical")
        policies = list(CROP_TITLES)
        policy = st.selectbox(
            "Crop", policies, policies.index(start.crop_policy), format_func=CROP_TITLES.__getitem__,
            key=f"{key}_crop", help=_CROP_HELP, disabled=bool(why_no_crop),
        )  # fmt: skip
        if why_no_crop:
            st.caption(plain(why_no_crop, 400))
        _say_why(reasons, "crop_policy")
    with names:
        lines = "\n".join(_line(*pair) for pair in zip(start.classes.sources, start.classes.names, strict=True))
        text = st.text_area(
            "Classes, one a line, in their order", lines, key=f"{key}_classes", help=_CLASSES_HELP,
            height=_LINE_PX * min(_MAX_LINES, len(start.classes.names) + 1),
        )  # fmt: skip
        _say_why(reasons, "classes")
        classes = read_classes(text, start.classes.sources)
    if is_ordinal:
        _warn_of_alphabet(classes)
    return KindChoice(is_ordinal, is_medical, str(policy), classes)


def _warn_of_alphabet(classes: LabelSchema) -> None:
    """Grades that stand in a folder's alphabet would be counted in the wrong order."""
    order = severity_order(classes.names)
    if order is not None and order != classes.names:
        st.warning(f"As grades these stand in another order: {plain(', '.join(order), 300)}. Move the lines.")


def read_classes(text: str, sources: Sequence[str]) -> LabelSchema:
    """The classes that the lines name; raises UserError where one is unknown, missing, repeated or empty."""
    known = LabelSchema(tuple(sources), tuple(sources))
    pairs = [_pair(line.strip(), sources) for line in text.splitlines() if line.strip()]
    order, names = [source for source, _ in pairs], [name for _, name in pairs]
    change = SchemaChange(order=order, is_by_source=True, class_names=names)
    return known.changed(change)


def _pair(line: str, sources: Sequence[str]) -> tuple[str, str]:
    if same := next((source for source in sources if source.strip() == line), None):
        return same, same
    # A source may have "=" in its name itself, so the longest one that the line begins with counts.
    found = [one for one in sources if line.startswith(one) and line[len(one) :].lstrip().startswith("=")]
    if not found:
        raise UserError(
            f"The line {line!r} names no class; write one class a line, as it is or as folder = name. The classes are "
            f"{', '.join(sources)}."
        )
    source = max(found, key=len)
    return source, line[len(source) :].lstrip()[1:].strip()


def _line(source: str, name: str) -> str:
    return source if source == name else f"{source} = {name}"


def _say_why(reasons: Mapping[str, str], key: str) -> None:
    if reason := reasons.get(key):
        st.caption(f"Suggested because {plain(reason, 300)}.")
