"""Runs all checks over a data set, and keeps the report on disk for its version and the options.

What depends on pixels alone (copies, features, measures) is kept for itself, so that an audit after an exclusion or a
new label fits the probe again and computes nothing else.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import digest_of, read_kept, write_json
from lib.audit.audited import AuditedImages, NotMeasured, audits_dir
from lib.audit.copies import exact_copies, group_leakage, near_copies, unreadable_files
from lib.audit.embedding import label_errors, outliers
from lib.audit.findings import FORMAT_VERSION, MOST_KEPT, SEVERITY_TITLES, AuditReport, CheckResult, Finding
from lib.audit.quality import odd_shapes, spoiled_images
from lib.audit.shortcuts import shortcuts
from lib.data.dataset import Dataset
from lib.progress import Progress, ignore_progress

Check = Callable[[AuditedImages], tuple[list[Finding], int, str]]
_SEVERITIES = list(SEVERITY_TITLES)


@dataclass(frozen=True)
class CheckSpec:
    """A check: it returns its findings, over how many images it looked, and a sentence on all of them."""

    name: str
    title: str
    run: Check


CHECKS = (
    CheckSpec("exact_copies", "Exact copies", exact_copies),
    CheckSpec("unreadable", "Unreadable files", unreadable_files),
    CheckSpec("near_copies", "Near duplicates", near_copies),
    CheckSpec("groups", "Patients across parts", group_leakage),
    CheckSpec("spoiled", "Dark, bright, blurred, flat", spoiled_images),
    CheckSpec("shape", "Odd shapes", odd_shapes),
    CheckSpec("labels", "Likely label errors", label_errors),
    CheckSpec("outliers", "Outliers", outliers),
    CheckSpec("shortcuts", "Shortcuts", shortcuts),
)


@dataclass(frozen=True)
class AuditQuestion:
    """What is audited: a version of a data set, a split of it, by the features of a backbone."""

    dataset: Dataset
    split_seed: int = 0
    backbone: str = ""

    @property
    def path(self) -> Path:
        """Where the report is kept."""
        content = self.dataset.content_version
        parts = (FORMAT_VERSION, [check.name for check in CHECKS], self.split_seed, self.backbone)
        described = {"content": content, "version": self.dataset.version, "parts": [str(part) for part in parts]}
        return audits_dir() / f"{_prefix(self.dataset, self.split_seed)}{digest_of(described)}.json"

    def read(self) -> AuditReport | None:
        """The kept report; None where there is none."""
        return read_kept(self.path, AuditReport.from_dict)


def _prefix(dataset: Dataset, split_seed: int) -> str:
    return f"report-{dataset.content_version[:12]}-{split_seed}-"


def last_report(dataset: Dataset, split_seed: int = 0) -> Path | None:
    """Where the newest report on the pixels of a data set lies, of whatever version and backbone; None without one.

    After an exclusion or a new name of a class it can be shown (`open_findings`) until it is made anew.
    """
    found = audits_dir().glob(f"{_prefix(dataset, split_seed)}*.json")
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def audit(
    question: AuditQuestion, *, device: str = "cpu", is_fresh: bool = False, progress: Progress = ignore_progress
) -> AuditReport:
    """Make all checks, or read the kept report.

    Args:
        question: what is audited.
        device: where features are computed.
        is_fresh: whether a kept report does not count.
        progress: called by each check; what it raises ends the audit, and nothing is kept but what was whole.

    Raises:
        UserError: an unknown backbone, or a damaged data set.
    """
    from lib.models.backbones import BACKBONES

    BACKBONES.get(question.backbone)
    if not is_fresh and (kept := question.read()) is not None:
        return kept
    dataset = question.dataset
    audited = AuditedImages(dataset, question.split_seed, question.backbone, device, progress)
    results: list[CheckResult] = []
    findings: list[Finding] = []
    for check in CHECKS:
        progress(0, 0, check.title)
        started = time.perf_counter()
        try:
            found, num_images, sentence = check.run(audited)
            reason = ""
        except NotMeasured as error:
            found, num_images, sentence, reason = [], 0, "", str(error)
        results.append(
            CheckResult(
                name=check.name,
                title=check.title,
                num_images=num_images,
                seconds=time.perf_counter() - started,
                num_findings=len(found),
                sentence=sentence,
                reason=reason,
                is_measured=not reason,
            )
        )
        findings += _worst_first(found)
    report = AuditReport(
        dataset=dataset.name,
        version=dataset.version,
        content_version=dataset.content_version,
        split_seed=question.split_seed,
        backbone=question.backbone,
        num_images=len(audited.rows),
        created_s=time.time(),
        checks=tuple(results),
        findings=tuple(findings),
    )
    write_json(question.path, report.to_dict())
    return report


def _worst_first(found: list[Finding]) -> Iterator[Finding]:
    """By kind, severity and score, at most `MOST_KEPT` of a kind."""
    kinds = dict.fromkeys(finding.kind for finding in found)
    for kind in kinds:
        own = [finding for finding in found if finding.kind == kind]
        yield from sorted(own, key=lambda one: (_SEVERITIES.index(one.severity), -one.score))[:MOST_KEPT]
