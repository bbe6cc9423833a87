"""`estimate` and `lr-range`: what a training would take, and which learning rate suits it. Both train nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json, print_table
from lib.cli.training_config import config_from, opened_training, training_options
from lib.errors import UserError
from lib.jobs.event_text import describe_duration

if TYPE_CHECKING:
    from lib.training.config import TrainConfig


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
    if not rate_range.applies(asked.strategy):
        raise UserError(f"The strategy {asked.strategy} is fitted in one go and has no learning rate to look for.")
    config, dataset, compute = opened_training(asked)
    with ProgressLine() as progress:
        session = TrainingSession(config, dataset, compute, listener=progress.listen, should_stop=lambda: False)
        classifier = session.new_classifier()
        split = dataset.split(config.split_seed)
        session.preparation.enhance(split)
        data = session.data(session.inputs(classifier), split)
        found = rate_range.find_rate(classifier, data, config, compute, num_steps=num_steps, progress=progress)
    if out:
        from lib.figures.training_charts import save_rate_range_png

        save_rate_range_png(found, out, strategy=config.strategy, title=f"Learning-rate range test: {config.dataset}")
    if as_json:
        print_json({**found.to_dict(), "picture": str(out) if out else None})
        return 0
    if found.suggested_rate is None:
        note("The loss fell nowhere clearly: no rate is suggested.")
    else:
        rate = rate_range.rounded(found.suggested_rate)
        click.echo(f"The loss falls fastest at a learning rate of {rate:g}: --set learning_rate={rate:g}")
    if out:
        click.echo(f"Picture: {out}")
    return 0


def report_estimate(config: "TrainConfig", *, as_json: bool) -> int:
    """Measure, keep and print an estimate; returns the exit status."""
    import time

    import psutil

    from lib.atomic import write_json
    from lib.training.estimation import kept_estimate
    from lib.training.estimation.estimator import estimate_training

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
    times = {key: describe_duration(value) for key, value in seconds.items()}
    return {"epochs": epochs, **times, "memory": memory, "cache": cache}
