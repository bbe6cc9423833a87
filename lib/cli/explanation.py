"""`explain`: what a network looks at in one image."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from lib.cli.output import ProgressLine, json_option, note, print_json
from lib.cli.storage import backbone_or_default
from lib.cli.training_config import NameOption
from lib.errors import UserError
from lib.explain.method_spec import read_options
from lib.explain.methods import DEFAULT_METHOD, METHODS
from lib.settings import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.data.input_transform import InputTransform
    from lib.explain.pictures import PixelArray

_ASKED_OF_BOTH = ("stage", "target", "options", "progress")  # of the picture and of its honest card


@click.command()
@click.argument("image", type=click.Path(path_type=Path), required=False)
@click.option("--dataset", metavar="NAME", help="Instead of a file: an image of this data set, as it is stored.")
@click.option("--image", "image_id", metavar="ID", help="Which one: its image_id (a beginning that no other has).")
@click.option("--run", "run_id", metavar="ID", help="Explain with this run's classifier (or a bundle's zip).")
@click.option(
    "--backbone",
    metavar="NAME",
    help=f"Explain with a pretrained network and its own classes (without --run: {DEFAULT_BACKBONE}).",
)
@click.option("--stage", help="One stage (default: a strip through all; of a slow method the network's own stage).")
@click.option(
    "--method",
    cls=NameOption,
    table="lib.explain.methods:METHODS",
    metavar="NAME",
    help="How places are found that speak for the answer (default: grad_cam).",
)
@click.option(
    "--target",
    metavar="CLASS",
    help="What to explain (default: the predicted class): a class, 'A - B' for what speaks for A rather than B, "
    "'expected' for the expected grade, '>=2' for the probability of grade 2 or above.",
)
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="An option of the method; may repeat.")
@click.option("--raw", type=click.Path(path_type=Path), help="Also write the raw maps with their manifest, FILE.npz.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The picture to write, FILE.png.")
@click.option(
    "--check", is_flag=True, help="Also measure the honest card of the map: controls, random weights, verdict."
)
@click.option("--by-thresholds", is_flag=True, help="Answer by the expected grade and limits fitted in validation.")
@json_option
def explain(
    image: Path | None,
    *,
    dataset: str | None,
    image_id: str | None,
    run_id: str | None,
    backbone: str | None,
    out: Path,
    raw: Path | None,
    as_json: bool,
    method: str | None,
    settings: tuple[str, ...],
    by_thresholds: bool,
    check: bool,
    **options: Any,
) -> None:
    """Draw where a network looks in one image, at one stage or through all of them.

    Methods of pixels (integrated_gradients, occlusion, saliency, deep_lift) draw one map and take no stage.

    A run answers as in `grade`: an image unlike its training images gets no class, so that its picture shows mean
    activations, or Grad-CAM of the class that --target names.
    """
    if run_id is not None and backbone is not None:
        raise UserError("Give either --run ID or --backbone NAME, not both: what should explain the image?")
    if out.suffix.lower() != ".png":
        raise UserError(f"The picture is written as PNG: --out must end in .png, received {str(out)!r}.")
    source = _named(image, dataset, image_id)
    if by_thresholds and run_id is None:
        raise UserError("--by-thresholds goes with --run ID: limits of the expected grade belong to a trained run.")
    if raw is not None and raw.suffix.lower() != ".npz":
        raise UserError(f"Raw maps are written as NumPy archive: --raw must end in .npz, received {str(raw)!r}.")
    given = read_options(settings)
    METHODS.get(method or DEFAULT_METHOD).complete(given)  # a slip of the pen is known before a network is built
    with ProgressLine() as progress:
        options |= {"method": method, "options": given, "raw": raw, "progress": progress}
        result = (
            _by_backbone(source, backbone_or_default(backbone), out, options, check=check)
            if run_id is None
            else _by_run(source, run_id, out, options, by_thresholds=by_thresholds, check=check)
        )
    if as_json:
        print_json(result)
        return
    how = "predicted" if result["is_predicted"] else "asked for"
    if result["is_predicted"] and by_thresholds:
        how = f"by the {result['rule']}"
    named = "No class is given" if result["status"] != "graded" else ""
    if result["class_name"] is not None:
        of_class = isinstance(result["target"], int)
        asked = f"{result['class_name']} ({how}, {'probability' if of_class else 'value'} {result['score']:.3f}"
        named = f"{named}; drawn for {asked}, which does not count)" if named else f"{asked})"
    click.echo(f"{named}: {result['out']}")
    if result["notice"] or result["reason"]:
        note(result["notice"] or result["reason"])
    if result.get("seen_sentence"):
        note(result["seen_sentence"])
    if card := result.get("card"):
        click.echo(" ".join(card["sentences"]))
        if card["gained"]:
            numbers = ", ".join(f"{name} {value:+.2f}" for name, value in card["gained"].items())
            click.echo(f"Less the mean of the controls: {numbers}; like maps of random weights {card['likeness']:.2f}.")


@dataclass(frozen=True)
class _Source:
    """Where the image is: a file, or a row of a data set."""

    path: Path | None = None
    dataset: "Dataset | None" = None
    row: int = 0

    def read(self, inputs: "InputTransform") -> "tuple[PixelArray, str]":
        """The pixels (S, S, 3), and the id by which data sets and classifiers know the file."""
        from lib.models.seen_images import image_id_of

        if self.dataset is not None:
            return np.array(self.dataset.pixels[self.row]), str(self.dataset.table["image_id"].iloc[self.row])
        assert self.path is not None  # noqa: S101 (one of the two)
        decoded = inputs.decode(self.path)
        return decoded.pixels, image_id_of(decoded.sha256)


def _named(image: Path | None, dataset: str | None, image_id: str | None) -> _Source:
    """The image that was asked for; raises UserError unless it is one, and there."""
    if (image is None) == (dataset is None) or (dataset is None) != (image_id is None):
        raise UserError("Give either an image file, or --dataset NAME with --image ID.")
    if image is not None:
        if not image.is_file():
            raise UserError(f"There is no image file {image}.")
        return _Source(path=image)
    from lib.data.library import open_dataset

    found = open_dataset(str(dataset))
    rows = np.flatnonzero(found.table["image_id"].str.startswith(str(image_id)))
    if len(rows) != 1:
        counted = f"{len(rows)} images" if len(rows) else "no image"
        raise UserError(
            f"The data set {dataset!r} has {counted} whose image_id begins with {image_id!r}; all ids: python -m lib "
            f"datasets measures {dataset} --csv."
        )
    return _Source(dataset=found, row=int(rows[0]))


def _with_card(result: dict[str, Any], pixels: Any, network: Any, inputs: Any, **asked: Any) -> dict[str, Any]:
    """The result with the honest card of its map, where there is one; of a strip, that of the network's own stage."""
    from lib.explain.map_checks import check_map

    if result["method_name"] not in METHODS:
        note("There is no map to check.")
        return result
    card = check_map(pixels, network, preprocessing=inputs, method=result["method_name"], **asked)
    return {**result, "card": card.to_dict()}


def _by_backbone(source: _Source, backbone: str, out: Path, options: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """A network as published, with its own classes: nothing is known of its training images."""
    from lib.data.input_transform import InputTransform
    from lib.explain.class_names import pretrained_class_names
    from lib.explain.explanation import explain_image
    from lib.models.stages import build_backbone

    network = build_backbone(backbone, weights="pretrained")
    inputs, class_names = InputTransform.of(network.spec), pretrained_class_names(network.spec)
    pixels, _ = source.read(inputs)
    result = explain_image(
        pixels, network, inputs, class_names, out=out, network_title=network.spec.title, is_ordinal=False, **options
    )
    asked = {key: options[key] for key in _ASKED_OF_BOTH}
    return _with_card(result, pixels, network, inputs, class_names=class_names, **asked) if check else result


def _by_run(
    source: _Source, run_id: str, out: Path, options: dict[str, Any], *, by_thresholds: bool, check: bool
) -> dict[str, Any]:
    """A run's or bundle's classifier, with the verdict that `grade` would give."""
    from lib.explain.explanation import explain_image
    from lib.grading.grader import Grader
    from lib.grading.grades import SEEN_SENTENCES, GradingOptions

    grader = Grader.open(run_id, options=GradingOptions(by_thresholds=by_thresholds))
    pixels, image_id = source.read(grader.inputs)
    seen = grader.seen.role(image_id)
    sentence = SEEN_SENTENCES.get(seen, "")
    verdict = grader.answer(pixels)
    result = explain_image(
        pixels,
        grader.classifier,
        grader.inputs,
        grader.class_names,
        out=out,
        network_title=grader.classifier.spec.title,
        notes=[said for said in (grader.header.notice, sentence) if said],
        verdict=verdict,
        is_ordinal=grader.is_ordinal,
        about={"run": grader.header.run, "backbone": grader.classifier.spec.name},
        **options,
    )
    if check:
        asked = {key: options[key] for key in _ASKED_OF_BOTH}
        result = _with_card(
            result, pixels, grader.classifier, grader.inputs, class_names=grader.class_names, verdict=verdict,
            is_ordinal=grader.is_ordinal, **asked,
        )  # fmt: skip
    return {**result, "seen": seen, "seen_sentence": sentence}
