"""`estimate`, `lr-range`, `advise`: what a training would take, its learning rate, its strategy. They train nothing."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil

from lib.atomic import write_json
from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json, print_table
from lib.cli.storage import backbone_or_default
from lib.cli.training_config import config_from, note_merged_classes, opened_training, training_options
from lib.data.library import open_dataset
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.weights import require_weights
from lib.precision import choose_dtype
from lib.progress import duration
from lib.runtime import pick_device, set_threads
from lib.settings import DEFAULT_BACKBONE
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES

if TYPE_CHECKING:
    from lib.advisor.guide import Advice


@click.command()
@training_options
@json_option
def estimate(as_json: bool, **options: Any) -> int:
    """Say what a training would take: parameters by stage, seconds and memory, from three measured steps."""
    return report_estimate(config_from(**options), as_json=as_json)


@click.command("lr-range")
@training_options
@click.option("--steps", "num_steps", type=click.IntRange(20, 1000), default=100, show_default=True,
              help="Mini-batches, each at a higher rate.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture as a PNG.")
@json_option
def lr_range(num_steps: int, out: Path | None, as_json: bool, **options: Any) -> int:
    """Find a learning rate: train some steps at ever larger rates, and see where the loss falls fastest."""
    from lib.training import rate_range
    from lib.training.session import TrainingSession

    asked = config_from(**options)
    if not STRATEGIES.get(asked.strategy).is_iterative:
        raise UserError(f"The strategy {asked.strategy} is fitted in one go and has no learning rate to look for.")
    config, dataset, compute = opened_training(asked)
    with ProgressLine() as progress:
        session = TrainingSession(config, dataset, compute, listener=progress.listen, should_stop=lambda: False)
        classifier = session.new_classifier()
        split = dataset.split(config.split_seed)
        session.preparation.enhance(split)
        data = session.data(session.preparation.inputs(classifier), split)
        found = rate_range.find_rate(classifier, data, config, compute, num_steps=num_steps, progress=progress)
    if out:
        from lib.figures.training_charts import save_rate_range_png

        save_rate_range_png(found, out, strategy=config.strategy, title=f"Learning-rate range test: {config.dataset}")
    if as_json:
        print_json({**dataclasses.asdict(found), "picture": str(out) if out else None})
        return 0
    if found.suggested_rate is None:
        note("The loss fell nowhere clearly: no rate is suggested.")
    else:
        rate = rate_range.rounded(found.suggested_rate)
        click.echo(f"The loss falls fastest at a learning rate of {rate:g}: --set learning_rate={rate:g}")
    if out:
        click.echo(f"Picture: {out}")
    return 0


def report_estimate(config: TrainConfig, *, as_json: bool) -> int:
    """Measure, keep and print an estimate; returns the exit status."""
    from lib.training.estimation import estimate_training, kept_estimate

    resolved, dataset, compute = opened_training(config)
    started_s = time.time() - psutil.Process().create_time()
    with ProgressLine() as progress:
        found = estimate_training(resolved, dataset, compute, seconds_start=started_s, progress=progress)
    write_json(kept_estimate(resolved), found.to_dict())
    if as_json:
        print_json(found.to_dict())
        return 0
    rows = [
        (title, name, f"{number:,}", "trained" if is_trained else "frozen")
        for name, title, number, is_trained in found.stages
    ]
    print_table(rows, ("stage", "name", "parameters", ""))
    click.echo(f"{found.num_trained:,} of {found.num_parameters:,} parameters are trained.\n")
    print_facts(_facts(found))
    return 0


def _facts(found: Any) -> dict[str, Any]:
    epochs = f"{found.epochs} of {found.epoch_s:.3g} s" if found.epochs else "none: fitted in one go"
    seconds = {
        "start": found.seconds_start,
        **({"preprocessing": found.seconds_preprocessing} if found.seconds_preprocessing else {}),
        "features": found.seconds_features,
        "training": found.seconds_training,
        "evaluation and saving": found.seconds_evaluation,
        "in all": found.seconds_total,
    }
    memory = f"{found.peak_rss_mib:,.0f} MiB, {found.mapped_mib:,.0f} of them of mapped files" + (
        f", {found.device_mib:,.0f} MiB on the GPU" if found.device_mib else ""
    )
    cache = f"{found.cache_mib:,.1f} MiB to write: {found.cache_why}" if found.cache_mib else found.cache_why
    times = {key: duration(value) for key, value in seconds.items()}
    return {"epochs": epochs, **times, "memory": memory, "cache": cache}


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
    print_facts(_advice_facts(found))


def _advice_facts(found: "Advice") -> dict[str, Any]:
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
