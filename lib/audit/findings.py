"""What an audit found: the kinds of findings, one finding, one check, the whole report, and what of it is still open.

Imports no torch: pages read a report where it is kept.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

    from lib.data.dataset import Dataset

FORMAT_VERSION = 2  # 1 counted images that were not drawn, or not named by a label file, as unreadable
SERIOUS, NOTABLE, MINOR = "serious", "notable", "minor"
SEVERITY_TITLES = {SERIOUS: "to fix before training", NOTABLE: "to look at", MINOR: "good to know"}
MOST_KEPT = 2000  # findings of a kind; a report says how many there are in all


@dataclass(frozen=True)
class FindingKind:
    """One kind of finding: its title above the list, and what it means for a training."""

    name: str
    title: str
    meaning: str
    is_of_copies: bool = False  # its images belong together, and one alone is no finding any more


KINDS: Registry[FindingKind] = Registry("kind of finding")
for _kind in (
    FindingKind(
        "copies_across_classes", "The same picture in two classes",
        "One of the two labels is wrong, and a network is taught both.", is_of_copies=True,
    ),
    FindingKind(
        "copies_across_splits", "The same picture in two parts",
        "What training learned by heart is asked in validation or test, so that every score is too high.",
        is_of_copies=True,
    ),
    FindingKind(
        "copies_across_groups", "The same picture of two patients",
        "Either two names are one patient, or a file lies in the wrong place; the split takes them for two.",
        is_of_copies=True,
    ),
    FindingKind(
        "exact_copies", "Exact copies that the import left out",
        "Byte by byte the same file: one of them was left out already. The folder still has both, and another program "
        "would train and test on them.",
    ),
    FindingKind(
        "label_errors", "Labels that are likely wrong",
        "A probe that never saw the image takes it for another class.",
    ),
    FindingKind(
        "groups_across_splits", "One patient in two parts",
        "Images of one patient resemble each other, so that the test is too easy.",
    ),
    FindingKind(
        "shortcuts", "The class can be read off something else",
        "A network may learn this instead of what the images show, and fail where it is otherwise.",
    ),
    FindingKind("unreadable", "Files that cannot be read", "They were left out at the import."),
    FindingKind(
        "ungradable", "Fundus photographs that cannot be graded", "The gate of Grade images would turn them away.",
    ),
    FindingKind("dark", "Dark", "Little can be seen on them."),
    FindingKind("bright", "Bright", "Their light is washed out."),
    FindingKind("blurred", "Blurred", "Nothing on them has an edge."),
    FindingKind("low_contrast", "Low contrast", "They are nearly one colour."),
    FindingKind("odd_shape", "Odd shape", "Their square keeps a small part of them."),
    FindingKind(
        "outliers", "Unlike all others of their class", "To a pretrained network they are far from their class.",
    ),
    FindingKind(
        "copies_within_split", "The same picture twice in one part",
        "It counts twice, and in the test part it makes intervals too narrow; with folds or another split seed the two "
        "may come to lie in different parts.", is_of_copies=True,
    ),
):  # fmt: skip
    KINDS.add(_kind)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        kind: a name of `KINDS`.
        severity: `SERIOUS`, `NOTABLE` or `MINOR`.
        image_ids: the images it is about, that of the test part first; none where it is about the whole set.
        score: larger is worse, inside its kind: a cosine, 1 - probability, deviations, a balanced accuracy.
        sentence: what was found.
        action: what to do.
        exclude: the images among them that one click takes out.
        relabel_to: what the source calls the class that is suggested (`Dataset.class_sources`).
        files: files of the source that are not in the table.
    """

    kind: str
    severity: str
    image_ids: tuple[str, ...] = ()
    score: float = 0.0
    sentence: str = ""
    action: str = ""
    exclude: tuple[str, ...] = ()
    relabel_to: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """How one check went; `reason` says why it was not (or not wholly) measured, `sentence` what it found in all."""

    name: str
    title: str
    num_images: int
    seconds: float
    num_findings: int
    sentence: str = ""
    reason: str = ""
    is_measured: bool = True


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """All checks of one version of a data set; `backbone` gave the features."""

    dataset: str
    version: str
    content_version: str
    split_seed: int
    backbone: str
    num_images: int
    created_s: float
    checks: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]

    @property
    def seconds(self) -> float:
        """What all checks took together."""
        return sum(check.seconds for check in self.checks)

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """The findings of a kind, the worst first."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**dataclasses.asdict(self), "format_version": FORMAT_VERSION}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "AuditReport":
        """Rebuild from `to_dict`; raises ValueError for another format."""
        values = dict(content)
        if values.pop("format_version", None) != FORMAT_VERSION:
            raise ValueError(f"An audit of format {content.get('format_version')!r}, not {FORMAT_VERSION}.")
        checks = tuple(CheckResult(**check) for check in values["checks"])
        findings = tuple(_finding(finding) for finding in values["findings"])
        return cls(**{**values, "checks": checks, "findings": findings})


def _finding(content: Mapping[str, Any]) -> Finding:
    values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in content.items()}
    return Finding(**values)


def gone_from(dataset: "Dataset") -> np.ndarray:
    """Which images somebody excluded, bool (N,); one that has no label yet is looked at too."""
    gone: np.ndarray = dataset.has_exclusion
    return gone


def open_findings(report: AuditReport, dataset: "Dataset") -> tuple[Finding, ...]:
    """What is left of a report, of this version or an earlier one, after images were excluded or relabelled since."""
    table = dataset.table
    gone = set(table["image_id"].to_numpy()[gone_from(dataset)])
    sources = np.array([*dataset.class_sources, ""])[table["target"].to_numpy()]
    source = dict(zip(table["image_id"].tolist(), sources.tolist(), strict=True))
    return tuple(filter(None, (_left_of(finding, gone, source) for finding in report.findings)))


def _left_of(finding: Finding, gone: set[str], source: Mapping[str, str]) -> Finding | None:
    """A finding without its excluded images; None where nothing is left of it."""
    if not finding.image_ids:
        return finding
    kept = tuple(one for one in finding.image_ids if one not in gone and one in source)
    if len(kept) < (2 if KINDS.get(finding.kind).is_of_copies else 1):
        return None
    if finding.kind == "copies_across_classes" and len({source[one] for one in kept} - {""}) < 2:
        return None
    if finding.relabel_to and source[kept[0]] == finding.relabel_to:
        return None
    exclude = tuple(one for one in finding.exclude if one in kept)
    if (kept, exclude) == (finding.image_ids, finding.exclude):
        return finding  # as nearly all are: of thousands, copies would take a tenth of a second
    return dataclasses.replace(finding, image_ids=kept, exclude=exclude)


def summary(findings: Iterable[Finding], report: AuditReport) -> str:
    """The report in one line: what to fix, what to look at, what was not measured."""
    found = list(findings)
    said = []
    for severity, title in SEVERITY_TITLES.items():
        own = [finding for finding in found if finding.severity == severity]
        if own:
            counts = {kind.title: sum(one.kind == kind.name for one in own) for kind in KINDS}
            parts = ", ".join(f"{_lower(name)} ({number})" for name, number in counts.items() if number)
            said.append(f"{title.capitalize()}: {parts}.")
    if not found:
        said.append("Nothing was found.")
    missing = [_lower(check.title) for check in report.checks if not check.is_measured]
    if missing:
        said.append(f"Not measured: {', '.join(missing)}.")
    return " ".join(said)


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]


def findings_table(findings: Sequence[Finding], dataset: "Dataset") -> "pd.DataFrame":
    """One row a finding for a CSV: kind, severity, score, image_ids, files, sentence, action, exclude, relabel_to."""
    import pandas as pd

    paths = dict(zip(dataset.table["image_id"], dataset.table["path"], strict=True))

    def files_of(one: Finding) -> list[str]:
        return [*(str(paths[image_id]) for image_id in one.image_ids if image_id in paths), *one.files]

    rows = [
        {
            "kind": one.kind, "severity": one.severity, "score": round(one.score, 4),
            "image_ids": " ".join(one.image_ids),
            "files": "; ".join(files_of(one)),
            "sentence": one.sentence, "action": one.action, "exclude": " ".join(one.exclude),
            "relabel_to": one.relabel_to,
        }
        for one in findings
    ]  # fmt: skip
    columns = ["kind", "severity", "score", "image_ids", "files", "sentence", "action", "exclude", "relabel_to"]
    return pd.DataFrame(rows, columns=columns)
