"""Left and right eye of one patient, joined: by their names, or by a table; the worse eye decides."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from lib.errors import UserError
from lib.grading.decision import ACTIONS, ASK, REFER, TAKE_AGAIN
from lib.grading.grades import STATUS_WORDS, Grade

LEFT, RIGHT, UNKNOWN = "left", "right", ""
_EYES = {"left": LEFT, "l": LEFT, "os": LEFT, "right": RIGHT, "r": RIGHT, "od": RIGHT}
_NAME = re.compile(r"^(?P<patient>.+?)[ _.\-]+(?P<eye>left|right|os|od|l|r)$", re.IGNORECASE)


@dataclass(frozen=True)
class Eye:
    """Whose eye a file shows; `side` is "left", "right" or "" where nobody says."""

    patient: str
    side: str


@dataclass(frozen=True, eq=False)
class PatientGrade:
    """What is said of a patient.

    Attributes:
        eyes: side and grade of each picture, left before right.
        action: of the worse eye, as `lib.grading.decision` has it; "" for classes without an order.
        class_name: the highest grade among the eyes; None where no eye is graded or the classes have no order.
        sentence: which eye decided, and what is to be said of the other.
    """

    patient: str
    eyes: tuple[tuple[str, Grade], ...]
    action: str
    class_name: str | None
    sentence: str


def eye_of(name: str) -> Eye | None:
    """Patient and side by a name such as `12_left.jpeg` or `IMG-OD.png`; None where it says no side."""
    found = _NAME.match(PurePosixPath(name.replace("\\", "/")).stem)
    return Eye(found["patient"], _EYES[found["eye"].lower()]) if found else None


def read_patients(path: Path) -> dict[str, Eye]:
    """Whose eye each file shows, by a table with the columns file, patient and, if it says so, eye.

    Raises:
        UserError: no such table, a column that is missing, or a file that it names twice or without a patient.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"The table of patients {str(path)!r} cannot be read: {error}.") from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in ("file", "patient") if name not in table]
    if missing:
        raise UserError(
            f"The table of patients {str(path)!r} has no column {missing[0]!r}; it needs file,patient[,eye]."
        )
    found: dict[str, Eye] = {}
    for number, row in enumerate(table.to_dict("records"), start=2):
        name, patient, said = (str(row.get(key, "")).strip() for key in ("file", "patient", "eye"))
        if not name or not patient or name in found:
            raise UserError(f"Line {number} of {str(path)!r} names no file, no patient, or a file that came before.")
        if said and said.lower() not in _EYES:
            raise UserError(f"Line {number} of {str(path)!r}: an eye is left, right, OS or OD, received {said!r}.")
        by_name = eye_of(name)
        found[name] = Eye(patient, _EYES[said.lower()] if said else by_name.side if by_name else UNKNOWN)
    return found


def join_patients(grades: Sequence[Grade], table: Mapping[str, Eye] | None = None) -> list[PatientGrade]:
    """Patients with their eyes, in the order in which they first occur; files without a patient are left out.

    A table names files by their path or their last part. Without one the names tell; of names that are the same in
    several folders each folder has patients of its own. A file that was left out unseen is named where there is no
    other picture of that eye, and decides nothing: to take it again would not help.
    """
    if table is not None:
        known = [(grade, table.get(grade.name) or table.get(PurePosixPath(grade.name).name)) for grade in grades]
    else:
        known = [(grade, eye_of(grade.name)) for grade in grades]
    found = [(grade, eye) for grade, eye in known if eye is not None]
    counts = Counter(eye for grade, eye in found if not grade.is_left_out)
    twice = {eye.patient for eye, count in counts.items() if count > 1} if table is None else set()
    patients: dict[str, list[tuple[str, Grade]]] = {}
    for grade, eye in found:
        folder = str(PurePosixPath(grade.name.replace("\\", "/")).parent)
        key = f"{folder}/{eye.patient}" if eye.patient in twice and folder != "." else eye.patient
        patients.setdefault(key, []).append((eye.side, grade))
    return [_join(patient, sorted(eyes, key=lambda one: one[0])) for patient, eyes in patients.items()]


def unmet_names(grades: Sequence[Grade], table: Mapping[str, Eye] | None) -> str:
    """A sentence on files that a table names and that were not graded; "" where there are none."""
    names = {name for grade in grades for name in (grade.name, PurePosixPath(grade.name).name)}
    unmet = [name for name in table or {} if name not in names]
    if not unmet:
        return ""
    listed = ", ".join(unmet[:3]) + (", ..." if len(unmet) > 3 else "")
    return f"The table of patients names {len(unmet):,} of {len(table or {}):,} files that are not here: {listed}."


def _action(grade: Grade) -> str:
    if grade.decision is not None:
        return grade.decision.action
    return "" if grade.is_graded else ASK if grade.probabilities else TAKE_AGAIN


def _word(grade: Grade) -> str:
    return "left out, not looked at" if grade.is_left_out else grade.class_name or STATUS_WORDS[grade.status]


def _join(patient: str, eyes: list[tuple[str, Grade]]) -> PatientGrade:
    seen = {side for side, grade in eyes if not grade.is_left_out}
    eyes = [(side, grade) for side, grade in eyes if not grade.is_left_out or side not in seen]
    actions = ["" if grade.is_left_out else _action(grade) for _, grade in eyes]
    has_order = any(grade.decision is not None for _, grade in eyes)
    known = [action for action in ACTIONS if action in actions]
    action = known[0] if known and (has_order or TAKE_AGAIN in known or ASK in known) else ""
    ranked = [grade for _, grade in eyes if grade.is_graded and has_order]
    worst = max(ranked, key=lambda grade: grade.target or 0) if ranked else None
    said = [f"{side or 'eye'}: {_word(grade)}" for side, grade in eyes]
    again = [side or "eye" for (side, _), one in zip(eyes, actions, strict=True) if one == TAKE_AGAIN]
    if again and action == REFER:
        said.append(f"take the {' and the '.join(again)} again as well")
    sides = {side for side, _ in eyes}
    for side, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        if side not in sides and other in sides:
            said.append(f"no picture of the {side} eye")
    return PatientGrade(patient, tuple(eyes), action, worst.class_name if worst else None, "; ".join(said) + ".")
