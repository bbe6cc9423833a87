"""`extract`: what a training reads from the cache, computed in bulk, in as many parts as there are machines."""

import os
import time
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json
from lib.cli.training_config import config_from, given_options, opened_training, recipe_config, training_options
from lib.distributed import Ranks, is_launched

if TYPE_CHECKING:
    from lib.features.cache import Shard
    from lib.training.config import TrainConfig


@click.command()
@training_options
@click.option("--recipe", help="A published experiment (`recipes list`); other options given here come on top of it.")
@click.option("--shard", "shard_text", metavar="i/n", help="Only part i of n, such as 2/8; the last one combines all.")
@json_option
@click.pass_context
def extract(
    ctx: click.Context, *, as_json: bool, shard_text: str | None, recipe: str | None, **options: Any
) -> None:  # fmt: skip
    """Compute the frozen features that a training with the same options reads from the cache, and train nothing.

    May be repeated at any time: what is there and whole is skipped, what is damaged is computed again. Each part
    is a file that appears when it is whole, so parts may run on several machines with one TRANSFERSCOPE_HOME.
    """
    from lib.features.cache import Shard

    ranks = _ranks()  # under torchrun each process takes its own part
    shard = Shard(ranks.rank + 1, ranks.size) if shard_text is None else Shard.parse(shard_text)
    config = recipe_config(recipe, **given_options(ctx, options)) if recipe else config_from(**options)
    started = time.perf_counter()
    with ProgressLine() as progress:
        found = _fill(config, shard, ranks, progress)
    seconds, missing = time.perf_counter() - started, found.pop("missing_shards")
    facts = {
        "dataset": config.dataset, "backbone": config.backbone, "strategy": config.strategy,
        "shard": f"{shard.index}/{shard.count}", **found, "is_complete": not missing, "seconds": round(seconds, 3),
        "images_per_second": round(found["num_computed"] / max(seconds, 1e-9), 2),
    }  # fmt: skip
    if missing:
        note(f"Missing before the parts can be put together: {_listed(missing)} of {shard.count}.")
    if as_json:
        print_json({**facts, "missing_shards": missing})
    else:
        print_facts(facts)


def _fill(config: "TrainConfig", shard: "Shard", ranks: Ranks, progress: ProgressLine) -> dict[str, Any]:
    """Compute this part of every set of features; tells the number of sets, of images computed, and what is missing."""
    from lib.features.cache import combine, fill_shard, missing_shards
    from lib.training.estimation.estimator import needed_features

    num_sets, num_computed, missing = 0, 0, set()
    for request in needed_features(*opened_training(config, ranks), listener=progress.listen):
        num_sets += 1
        if request.read() is not None:
            continue
        if fill_shard(request, shard, progress=progress):
            num_computed += len(shard.rows(request.num_images))
        if not combine(request, shard.count, progress=progress):
            missing.update(missing_shards(request, shard.count))
    return {"num_sets": num_sets, "num_computed": num_computed, "missing_shards": sorted(missing)}


def _ranks() -> Ranks:
    """Who this is under torchrun, which only starts the processes: they need not talk to each other."""
    if not is_launched():
        return Ranks()
    rank, size, local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Ranks(rank, size, local_rank)


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"
