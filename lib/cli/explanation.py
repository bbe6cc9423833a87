"""`explain`: what a network looks at in one image."""

from pathlib import Path
from typing import Any

import click

from lib.cli.output import json_option, note, print_json
from lib.errors import UserError
from lib.settings import DEFAULT_STORE_SIDE_PX


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--run", "run_id", metavar="ID", help="Explain with this run's classifier (or a bundle's zip).")
@click.option("--backbone", metavar="NAME", help="Explain with a pretrained network and its own classes.")
@click.option("--stage", help="One stage (default: a strip through all stages).")
@click.option("--method", type=click.Choice(["grad_cam"]), default="grad_cam", show_default=True)
@click.option("--target", metavar="CLASS", help="The class to explain (default: the predicted one).")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The picture to write, FILE.png.")
@json_option
def explain(
    image: Path, *, run_id: str | None, backbone: str | None, out: Path, as_json: bool, method: str, **options: Any
) -> None:
    """Draw where a network looks in one image, at one stage or through all of them."""
    if (run_id is None) == (backbone is None):
        raise UserError("Give either --run ID or --backbone NAME: what should explain the image?")
    if out.suffix.lower() != ".png":
        raise UserError(f"The picture is written as PNG: --out must end in .png, received {str(out)!r}.")
    if not image.is_file():
        raise UserError(f"There is no image file {image}.")
    from lib.data.decoder_pool import decode_one
    from lib.explain.explanation import explain_image

    network, preprocessing, class_names, crop_policy, title = _network(run_id, backbone)
    pixels = decode_one(image, side_px=DEFAULT_STORE_SIDE_PX, crop_policy=crop_policy).pixels
    result = explain_image(pixels, network, preprocessing, class_names, out=out, network_title=title, **options)
    if as_json:
        print_json(result)
        return
    how = "predicted" if result["is_predicted"] else "asked for"
    click.echo(f"{result['class_name']} ({how}, probability {result['score']:.3f}): {result['out']}")
    if result["notice"]:
        note(result["notice"])


def _network(run_id: str | None, backbone: str | None) -> tuple[Any, Any, tuple[str, ...], str, str]:
    """Network, preprocessing, class names, crop policy and title of a run's classifier or of a backbone."""
    if backbone is not None:
        from lib.explain.class_names import pretrained_class_names
        from lib.models.stages import build_backbone

        network = build_backbone(backbone, weights="pretrained")
        return network, network.spec, pretrained_class_names(network.spec), "center_square", network.spec.title
    from lib.grading.grader import Grader

    grader = Grader.open(str(run_id))
    policy = str(grader.preprocessing.get("crop_policy") or "center_square")
    return grader.classifier, grader.preprocessing, grader.class_names, policy, grader.classifier.spec.title
