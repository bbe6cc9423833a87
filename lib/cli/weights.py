"""`weights list | download`."""

from dataclasses import asdict

import click

from lib.cli.output import ProgressLine, json_option, note, print_json, print_table


def backbone_or_default(name: str | None) -> str:
    """The named backbone, or the default one, saying so where the fallback takes its place."""
    from lib.models.weights import default_backbone, fallback_sentence

    if name:
        return name
    if sentence := fallback_sentence():
        note(sentence)
    return default_backbone()


@click.group()
def weights() -> None:
    """List and download pretrained weights."""


@weights.command("list")
@json_option
def list_weights(as_json: bool) -> None:
    """Show for every backbone whether its pretrained weights are at hand, and what they were trained on."""
    from lib.models.backbones import BACKBONES
    from lib.models.weights import all_weights_status

    found = all_weights_status()
    if as_json:
        entries = [
            {**asdict(status), "pretrained_on": BACKBONES.get(status.backbone).pretrained_on} for status in found
        ]
        print_json({"weights": entries})
        return
    rows = [
        (
            status.backbone, BACKBONES.get(status.backbone).pretrained_on, status.place, status.size_mib, status.file
        )
        for status in found
    ]  # fmt: skip
    print_table(rows, ("backbone", "pretrained on", "at hand", "MiB", "file"))
    downloads = next(status.folder for status in found if not status.is_installed)
    packages = ", ".join(status.package for status in found if status.package)
    click.echo(
        f"Downloads are kept in {downloads}; the bundled file comes with the program, those in a package with "
        f"{packages}."
    )


@weights.command()
@click.argument("backbone")
def download(backbone: str) -> None:
    """Download the pretrained weights of a backbone to where torchvision looks for them."""
    from lib.models.downloads import download_weights

    with ProgressLine() as progress:
        path = download_weights(backbone, progress)
    click.echo(f"{backbone}: {path}")
