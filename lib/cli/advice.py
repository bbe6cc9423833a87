"""`advise`: which strategy suits a data set and a network."""

from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, json_option, print_facts, print_json, print_table
from lib.cli.weights import backbone_or_default
from lib.settings import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from lib.advisor.guide import Advice


@click.command()
@click.option("--dataset", required=True, help="A data set of the library.")
@click.option("--backbone", help=f"The network, with pretrained weights (default: {DEFAULT_BACKBONE}).")
@click.option("--split-seed", type=int, default=0, show_default=True, help="Only this split's training part is read.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="A setting of the training that decides on its images or classes; may be repeated.")  # fmt: skip
@json_option
def advise(dataset: str, backbone: str | None, split_seed: int, settings: tuple[str, ...], as_json: bool) -> None:
    """Suggest a strategy by the guide of four scenarios: few or many images, similar to the source or different.

    A rule of thumb: it measures, but it trains nothing. Only images of the training part are looked at: those that a
    training with the same settings would use (preprocessing, target_map, num_folds, max_per_class and the other caps
    and shares), after their preprocessing and with their classes.
    """
    from lib.advisor.guide import kept_advice
    from lib.advisor.measurement import advise as measure
    from lib.atomic import write_json
    from lib.cli.training_config import note_merged_classes
    from lib.data.library import open_dataset
    from lib.data.subset import apply_protocol
    from lib.models.backbones import BACKBONES
    from lib.models.weights import require_weights
    from lib.precision import choose_dtype
    from lib.runtime import pick_device, set_threads
    from lib.training.config import TrainConfig

    config = TrainConfig(dataset=dataset, backbone=backbone_or_default(backbone), split_seed=split_seed)
    config = config.with_settings(settings)
    opened = open_dataset(config.dataset)
    BACKBONES.get(config.backbone)
    require_weights(config.backbone)
    note_merged_classes(config)
    images = apply_protocol(opened, config)
    set_threads()
    device = pick_device("auto")
    with ProgressLine() as progress:
        found = measure(images, config, device=device, dtype=choose_dtype(device)[0], progress=progress)
    write_json(kept_advice(opened.version, config), found.to_dict())
    if as_json:
        print_json(found.to_dict())
        return
    titles = {stage.name: stage.title for stage in BACKBONES.get(config.backbone).stages}
    print_table([(titles.get(s.stage, s.stage), s.stage, _number(s.distance), _number(s.logme))
                 for s in found.readings.stages], ("stage", "name", "distance", "LogME"))  # fmt: skip
    click.echo()
    print_facts(_facts(found))


def _facts(found: "Advice") -> dict[str, Any]:
    readings = found.readings
    origin = "from the cache" if readings.was_cached else "computed now"
    settings = {"feature stage": found.feature_stage, "epochs": found.epochs}
    return {
        "training images": f"{readings.num_train}, {readings.least_per_class} in the rarest class",
        "distance": "unknown: the network has no BatchNorm statistics, so the scores decide"
        if readings.distance is None
        else f"{readings.distance:.2f}, the median over stages of {readings.num_sampled} images",
        "nearest centroid": f"balanced accuracy {_number(readings.nearest_centroid)}, cross-validated",
        "LogME": _number(readings.logme),
        "features": f"of {readings.num_scored} images, {origin}",
        "measured in": f"{readings.seconds:.1f} s",
        "scenario": found.scenario,
        "strategy": found.strategy,
        **{name: value for name, value in settings.items() if value is not None},
        "reason": found.reason,
        "rule": f"{found.source}; a rule of thumb",
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
