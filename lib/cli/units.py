"""`unit`: what one channel of a network looks for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, json_option, note, print_json, print_table
from lib.cli.storage import backbone_or_default
from lib.errors import UserError
from lib.settings import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from lib.models.stages import StagedNetwork


@dataclass(frozen=True)
class _Unit:
    """A channel of a network, and how images become its input."""

    network: "StagedNetwork"
    inputs: Any
    title: str
    stage: str
    channel: int | None


@click.command()
@click.option("--run", "run_id", metavar="ID", help="A channel of this run's network (or of a bundle's zip).")
@click.option("--backbone", metavar="NAME", help=f"A channel of a pretrained network (default: {DEFAULT_BACKBONE}).")
@click.option("--stage", metavar="STAGE", help="The stage (default: the one of the heat maps).")
@click.option("--channel", type=int, metavar="K", help="Its channel, from 0 (default: the one that answers most).")
@click.option("--dataset", metavar="NAME", help="The data set whose images are looked through.")
@click.option("--maximize", is_flag=True, help="Make a picture that the channel answers to as strongly as possible.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise that --maximize starts from.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a sheet of the pictures, FILE.png.")
@json_option
def unit(
    *, run_id: str | None, backbone: str | None, stage: str | None, channel: int | None, dataset: str | None,
    maximize: bool, seed: int, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Show what a channel looks for: the images of a data set that it answers to most, and a picture made for it.

    The index of a data set, network and stage is made once and kept in the cache: the next channel is shown at once.
    """
    if run_id is not None and backbone is not None:
        raise UserError("Give either --run ID or --backbone NAME, not both: whose channel is it?")
    if dataset is None and not maximize:
        raise UserError("Give --dataset NAME to look through its images, --maximize to make a picture, or both.")
    if dataset is None and channel is None:
        raise UserError("Give --channel K: without a data set nothing tells which channel answers most.")
    if out is not None and out.suffix.lower() != ".png":
        raise UserError(f"The sheet is written as PNG: --out must end in .png, received {str(out)!r}.")
    if maximize and out is None:
        raise UserError("Give --out FILE.png: the picture that --maximize makes has to go somewhere.")
    asked = _opened(run_id, backbone, stage, channel)
    with ProgressLine() as progress:
        result = _look(asked, dataset, seed if maximize else None, out, progress)
    if as_json:
        print_json(result)
        return
    if result["patches"]:
        rows = [(one["row"], one["class_name"], one["activation"], one["image_id"]) for one in result["patches"]]
        print_table(rows, ("row", "class", "activation", "image"))
    click.echo(f"Channel {result['channel']} of {result['stage']}: {result['sentence']}")
    if out is not None:
        click.echo(str(out))
    else:
        note("The pictures: --out FILE.png.")


def _opened(run_id: str | None, backbone: str | None, stage: str | None, channel: int | None) -> _Unit:
    from lib.explain.network import check_drawn_stage, drawn_stages

    if run_id is None:
        from lib.models.stages import build_backbone

        network: Any = build_backbone(backbone_or_default(backbone), weights="pretrained")
        inputs, title = network.spec, network.spec.title
    else:
        from lib.grading.grader import Grader

        grader = Grader.open(run_id)
        network, inputs = grader.classifier, grader.inputs
        title = f"{network.spec.title} of the run {run_id[:8]}"
    drawn = list(drawn_stages(network))
    stage = stage or (network.spec.shown_stage if network.spec.shown_stage in drawn else drawn[-1])
    check_drawn_stage(network, stage)
    return _Unit(network, inputs, title, stage, channel)


def _look(
    asked: _Unit, dataset: str | None, seed: int | None, out: Path | None, progress: ProgressLine
) -> dict[str, Any]:
    from lib.atomic import atomic_path
    from lib.explain.feature_visualization import MakingRequest, maximize
    from lib.explain.pictures import Tile, sheet_png
    from lib.explain.units import UnitRequest, build_index, describe_unit, unit_sheet

    index, channel = None, asked.channel
    result: dict[str, Any] = {"stage": asked.stage, "patches": [], "out": None if out is None else str(out)}
    sentences = []
    if dataset is not None:
        from lib.data.library import open_dataset

        index = build_index(UnitRequest(open_dataset(dataset), asked.network, asked.stage, asked.inputs), progress)
        channel = index.most_active(1)[0] if channel is None else channel
        result |= describe_unit(index, channel)
        sentences.append(result["classes"])
    assert channel is not None  # noqa: S101 (asked for without a data set)
    result["channel"] = channel
    more: list[Tile] = []
    if seed is not None:
        made = maximize(MakingRequest(asked.network, asked.stage, channel, asked.inputs, seed), progress)
        sentences.append(made.describe())
        more = [Tile("Made from noise", f"{made.steps[-1]} steps, seed {seed}", made.picture)]
        result |= {"activations": list(made.activations), "seed": seed}
    title = f"Channel {channel} of {asked.stage}, {asked.title}"
    result["sentence"] = " ".join(sentences)
    if out is not None:
        content = (
            unit_sheet(index, channel, title=title, more=more)
            if index is not None
            else sheet_png(more, title=title, notes=sentences)
        )
        with atomic_path(out) as temporary:
            temporary.write_bytes(content)
    return result
