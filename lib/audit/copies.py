"""Copies: files that the import left out, and pictures that are there twice under other bytes."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from lib.audit.audited import AuditedImages, NotMeasured
from lib.audit.findings import MINOR, NOTABLE, SERIOUS, Finding
from lib.data.sources.files import DEAD_LINK, has_image_suffix, split_of
from lib.data.splits import TEST, TRAIN, VAL

_RANK = {TEST: 0, VAL: 1, TRAIN: 2, "": 3}
_PART = {TEST: "test", VAL: "validation", TRAIN: "training", "": "no part"}
_COPY = re.compile(r"same content as (?P<other>.+?)(?P<is_other_class>, which is in another class)?")
_MOST_NAMED = 4


def exact_copies(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Files that have the very bytes of another, as the import left them out."""
    kept = {str(path): row for row, path in enumerate(audited.paths)}
    found = []
    for path, reason in audited.left_out():
        copy = _COPY.fullmatch(reason)
        if copy is None:
            continue
        other = copy["other"]
        parts = _part_of(path), _part_of(other)
        both = f"{_short(path)} is byte by byte {_short(other)}"
        if copy["is_other_class"]:
            severity, sentence = SERIOUS, f"{both}, which is in another class; both were left out."
        elif parts[0] != parts[1]:
            severity = NOTABLE
            sentence = f"{both}: one lies in {_PART[parts[0]]}, one in {_PART[parts[1]]}; the first was left out."
        else:
            severity, sentence = MINOR, f"{both}; it was left out."
        row = kept.get(other)
        ids = audited.ids([row]) if row is not None and audited.is_in[row] else ()
        # About files, which no exclusion of the image that was kept would mend.
        found.append(
            Finding(
                kind="exact_copies",
                severity=severity,
                score=1.0,
                sentence=sentence,
                files=(path, other),
                action="Nothing to do here; remove the file from the folder.",
                image_ids=ids,
            )
        )
    where = sum(one.severity == NOTABLE for one in found)
    clash = sum(one.severity == SERIOUS for one in found)
    said = f"Exact copies: {len(found)}; across splits: {where}; across classes: {clash}."
    return found, audited.dataset.num_images + len(audited.dataset.left_out), said if found else ""


def _part_of(path: str) -> str:
    """The part that the folders of a file name; "" where none does."""
    return next(filter(None, map(split_of, PurePosixPath(path).parts[:-1])), "")


def _short(path: str) -> str:
    """The last two folders and the name."""
    return "/".join(PurePosixPath(path).parts[-3:])


def near_copies(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Pictures that are there twice: re-encoded, resized or mirrored."""
    if len(audited.rows) < 2:
        raise NotMeasured("There are fewer than two images.")
    groups = (members[audited.is_in[members]] for members in audited.copies.groups)
    found = [_of_group(audited, members) for members in groups if len(members) > 1]
    said = "" if audited.is_split else f"Whether copies cross splits is not known: {audited.why_not_split}"
    return found, len(audited.rows), said


def _of_group(audited: AuditedImages, members: np.ndarray) -> Finding:
    """What there is to say of one set of copies (n,)."""
    members = np.array(sorted(members, key=lambda row: (_RANK.get(str(audited.split[row]), 3), row)))
    mirrored = ", mirrored" if audited.copies.is_mirrored[members].all() else ""
    names = ", ".join(_described(audited, int(row)) for row in members[:_MOST_NAMED])
    more = f" and {len(members) - _MOST_NAMED} more" if len(members) > _MOST_NAMED else ""
    both = "Both show" if len(members) == 2 else f"All {len(members)} show"
    kind, severity, action = _verdict(audited, members)
    return Finding(
        kind=kind,
        severity=severity,
        image_ids=audited.ids(members),
        score=float(audited.copies.cosine[members].max()),
        sentence=f"{both} the same picture{mirrored}: {names}{more}.",
        action=action,
        exclude=audited.ids(members if kind == "copies_across_classes" else members[1:]),
    )


def _verdict(audited: AuditedImages, members: np.ndarray) -> tuple[str, str, str]:
    """Kind, severity and action, by the worst that a set of copies does."""
    classes = {audited.targets[row] for row in members} - {-1}
    patients = {audited.groups[row] for row in members} - {""}
    splits = {str(audited.split[row]) for row in members} - {""}
    if len(classes) > 1:
        return "copies_across_classes", SERIOUS, "Keep the one whose class is right, or exclude all."
    if len(splits) > 1:
        kept = _PART[str(audited.split[members[0]])]
        return "copies_across_splits", SERIOUS, f"Exclude all but the first, which is in {kept}."
    if len(patients) > 1:
        action = "Put them under one patient, or exclude all but the first."
        return "copies_across_groups", NOTABLE, action
    return "copies_within_split", MINOR, "Exclude all but the first."


def _described(audited: AuditedImages, row: int) -> str:
    facts = [audited.class_of(row), _PART.get(str(audited.split[row]), ""), str(audited.groups[row])]
    return f"{audited.named(row)} ({', '.join(part for part in facts if part and part != 'no part')})"


_NUMBERED = re.compile(r"(?P<stem>.*\d.*?)[\s_.-]+(?P<last>[A-Za-z]{0,5}\d{0,4})")
_LEAST_GROUPS = 5


def group_leakage(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Patients in two parts: by the set's own groups, and by names that look like one patient's."""
    if not audited.is_split:
        raise NotMeasured(f"The set is not divided: {audited.why_not_split}")
    divided = audited.rows[audited.split[audited.rows] != ""]
    named = {int(row): str(audited.groups[row]) for row in divided if audited.groups[row]}
    found = list(_crossing(audited, named, SERIOUS, "The patient {name} has images in {parts}: {files}."))
    by_name = {row: stem for row, stem in names_of_patients(audited).items() if row not in named and audited.split[row]}
    words = "By their names these are one patient ({name}), in {parts}: {files}."
    found += _crossing(audited, by_name, NOTABLE, words)
    said = ""
    if by_name:
        said = f"{len(set(by_name.values()))} patients were guessed from names of {len(by_name)} images."
    elif not named:
        said = "There are no patients, and the names do not look as if there were."
    return found, len(audited.rows), said


def _crossing(audited: AuditedImages, named: dict[int, str], severity: str, words: str) -> Iterator[Finding]:
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in named.items():
        members[name].append(row)
    for name, rows in members.items():
        rows.sort(key=lambda row: (_RANK.get(str(audited.split[row]), 3), row))
        parts = list(dict.fromkeys(_PART[audited.split[row]] for row in rows))
        if len(parts) < 2:
            continue
        files = ", ".join(audited.named(row) for row in rows[:_MOST_NAMED])
        files += f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
        first = [row for row in rows if audited.split[row] == audited.split[rows[0]]]
        yield Finding(
            kind="groups_across_splits",
            severity=severity,
            score=float(len(rows)),
            image_ids=audited.ids(rows),
            sentence=words.format(name=PurePosixPath(name).name, parts=" and ".join(parts), files=files),
            action=f"Import with patients kept together, or exclude those outside {parts[0]}.",
            exclude=audited.ids([row for row in rows if row not in first]),
        )


def names_of_patients(audited: AuditedImages) -> dict[int, str]:
    """Rows whose names look as if several images were one patient's, with what those names share.

    "12_left" and "12_right", "P003-1" and "P003-2": what stands before the last part holds a number, nearly all names
    are so, there are at least five such beginnings, and none has a tenth of all images (that would be a class).
    """
    stems: dict[int, str] = {}
    for row in audited.rows.tolist():
        path = PurePosixPath(str(audited.paths[row]))
        found = _NUMBERED.fullmatch(path.stem)
        if found:
            stems[row] = found["stem"]
    if len(stems) < 0.9 * len(audited.rows):
        return {}
    names, counts = np.unique(list(stems.values()), return_counts=True)
    shared = set(names[counts > 1])
    if len(shared) < _LEAST_GROUPS or counts.max() > max(2, 0.1 * len(stems)):
        return {}
    return {row: stem for row, stem in stems.items() if stem in shared}


def unreadable_files(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Images of the folder that the import could not read."""
    images = [(path, reason) for path, reason in audited.left_out() if has_image_suffix(path)]
    found = [
        Finding(
            kind="unreadable",
            severity=NOTABLE,
            sentence=f"{_short(path)}: {reason.rstrip('.')}.",
            files=(path,),
            action="Replace or remove the file.",
        )
        for path, reason in images
        if _is_of_decoder(reason)
    ]
    others = [reason for _, reason in images if not _is_of_decoder(reason) and not _COPY.fullmatch(reason)]
    more = "1 more image was" if len(others) == 1 else f"{len(others):,} more images were"
    said = f"{more} left out otherwise, such as: {others[0]}." if others else ""
    return found, audited.dataset.num_images + len(audited.dataset.left_out), said


def _is_of_decoder(reason: str) -> bool:
    """Whether a file was tried in vain: a decoder's reason is a sentence, others are parts of one ("not drawn")."""
    return reason.endswith(".") or reason == DEAD_LINK
