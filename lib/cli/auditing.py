"""`datasets audit`: what is wrong with a data set, before anything is trained on it."""

from pathlib import Path

import click

from lib.cli.output import ProgressLine, check_folder, json_option, note, print_json, print_table
from lib.settings import DEFAULT_BACKBONE

_SHOWN = 5


@click.command()
@click.argument("name_or_path", metavar="NAME|PATH")
@click.option("--backbone", help="Whose pretrained features judge labels and outliers "
              f"(default: {DEFAULT_BACKBONE}).")  # fmt: skip
@click.option("--split-seed", type=int, default=0, show_default=True, help="Seed of the split that copies may cross.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write all findings as CSV.")
@click.option("--again", is_flag=True, help="Measure anew what was audited before.")
@json_option
def audit(
    name_or_path: str, *, backbone: str | None, split_seed: int, out: Path | None, again: bool, as_json: bool
) -> None:  # fmt: skip
    """Audit a data set of the library, or a folder, which is imported first.

    Copies (also across training and test), patients in two parts, files that cannot be read, dark, bright, blurred and
    flat images, odd shapes, outliers, labels that are likely wrong, and shortcuts by which a class can be told. Nothing
    is changed: the report says what to do.
    """
    from lib.audit.auditing import AuditQuestion
    from lib.audit.auditing import audit as make_audit
    from lib.audit.findings import KINDS, findings_table, open_findings, summary
    from lib.csv_text import csv_of_table
    from lib.data.importing import resolve_dataset
    from lib.models.weights import default_backbone
    from lib.progress import duration
    from lib.runtime import pick_device

    if out is not None:
        check_folder(out)
    with ProgressLine() as progress:
        dataset = resolve_dataset(name_or_path, check_splits=False, progress=progress)
        question = AuditQuestion(dataset, split_seed, backbone or default_backbone())
        report = make_audit(question, device=pick_device(), is_fresh=again, progress=progress)
    findings = open_findings(report, dataset)
    if out is not None:
        out.write_text(csv_of_table(findings_table(findings, dataset)), encoding="utf-8")
        note(f"{len(findings)} findings written to {out}")
    if as_json:
        print_json({**report.to_dict(), "summary": summary(findings, report)})
        return
    click.echo(f"{dataset.name} (version {dataset.version}), {report.num_images} images, split seed {split_seed}")
    click.echo(summary(findings, report))
    for kind in KINDS:
        own = [one for one in findings if one.kind == kind.name]
        if own:
            click.echo(f"\n{kind.title} ({len(own)}): {kind.meaning}")
            for one in own[:_SHOWN]:
                click.echo(f"  {one.sentence} {one.action}")
            if len(own) > _SHOWN:
                click.echo(f"  and {len(own) - _SHOWN} more (--out FILE.csv or --json has all)")
    click.echo()
    rows = [
        (check.title, check.num_images, check.num_findings if check.is_measured else "not measured",
         duration(check.seconds), check.reason or check.sentence)
        for check in report.checks
    ]  # fmt: skip
    print_table(rows, ("check", "images", "findings", "took", ""))
