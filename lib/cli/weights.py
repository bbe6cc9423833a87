"""`weights list | download`."""

from dataclasses import asdict

import click

from lib.cli.output import ProgressLine, json_option, print_json, print_table


@click.group()
def weights() -> None:
    """List and download pretrained weights."""


@weights.command("list")
@json_option
def list_weights(as_json: bool) -> None:
    """Show for every backbone whether its ImageNet weights are at hand."""
    from lib.models.weights import all_weights_status

    found = all_weights_status()
    if as_json:
        print_json({"weights": [asdict(status) for status in found]})
        return
    rows = [(status.backbone, status.is_cached, status.size_mib, status.file) for status in found]
    print_table(rows, ("backbone", "at hand", "MiB", "file"))
    click.echo(f"Folder: {found[0].folder}")


@weights.command()
@click.argument("backbone")
def download(backbone: str) -> None:
    """Download the ImageNet weights of a backbone to where torchvision looks for them."""
    from lib.models.weights import download_weights

    with ProgressLine() as progress:
        path = download_weights(backbone, progress)
    click.echo(f"{backbone}: {path}")
