"""`extract`: frozen features in bulk, in as many parts as there are machines."""

import os
import time
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json
from lib.settings import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from lib.features.request import FeatureRequest
    from lib.features.shards import Shard


@click.command()
@click.option("--dataset", required=True, help="A data set of the library.")
@click.option("--backbone", default=DEFAULT_BACKBONE, show_default=True, help="The network.")
@click.option("--stage", help="The stage whose output is kept (default: the one that heads read).")
@click.option("--pooling", metavar="[average|flatten|none|unpooled]",
              help="How a map becomes a vector; unpooled is what partial fine-tuning reads at its cut.")  # fmt: skip
@click.option(
    "--weights", default="pretrained", show_default=True, metavar="[pretrained|random]", help="Of the network."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of random weights.")
@click.option("--input-size", "input_size_px", type=int, help="Side of the network's input in pixels.")
@click.option("--augmentation", default="none", show_default=True, help="Compute the views of this policy as well.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32 or bfloat16.")
@click.option("--shard", "shard_text", metavar="i/n", help="Only part i of n, such as 2/8; the last one combines all.")
@json_option
def extract(as_json: bool, shard_text: str | None, **options: Any) -> None:
    """Compute frozen features into the cache that trainings read.

    May be repeated at any time: what is there and whole is skipped, what is damaged is computed again. Each part
    is a file that appears when it is whole, so parts may run on several machines with one TRANSFERSCOPE_HOME.
    """
    from lib.features.shards import combine, fill_shard, missing_shards

    shard = _shard(shard_text)
    started, num_computed, is_combined, missing = time.perf_counter(), 0, True, []
    with ProgressLine() as progress:
        for request in _requests(**options):
            if request.read() is not None:
                continue
            if fill_shard(request, shard, progress=progress):
                num_computed += len(shard.rows(request.num_images))
            if not combine(request, shard.count, progress=progress):
                is_combined, missing = False, missing_shards(request, shard.count)
    seconds = time.perf_counter() - started
    facts = {
        "dataset": options["dataset"], "backbone": options["backbone"], "shard": f"{shard.index}/{shard.count}",
        "num_computed": num_computed, "is_complete": is_combined, "seconds": round(seconds, 3),
        "images_per_second": round(num_computed / max(seconds, 1e-9), 2),
    }  # fmt: skip
    if missing:
        note(f"Missing before the parts can be put together: {_listed(missing)} of {shard.count}.")
    if as_json:
        print_json({**facts, "missing_shards": missing})
    else:
        print_facts(facts)


def _shard(text: str | None) -> "Shard":
    """The part that was asked for; under torchrun each process takes its own, else it is the whole."""
    from lib.distributed import is_launched
    from lib.features.shards import Shard

    if text is not None:
        return Shard.parse(text)
    if is_launched():
        return Shard(int(os.environ["RANK"]) + 1, int(os.environ["WORLD_SIZE"]))
    return Shard()


def _requests(
    *, dataset: str, backbone: str, stage: str | None, pooling: str | None, weights: str, seed: int,
    input_size_px: int | None, augmentation: str, device: str, dtype: str,
) -> "list[FeatureRequest]":  # fmt: skip
    """What to compute, resolved by the rules of a training so that the names in the cache are the same."""
    from lib.data.augmentation import AS_IT_IS, POLICIES, finite_views
    from lib.data.library import open_dataset
    from lib.errors import UserError
    from lib.features.extraction import UNPOOLED
    from lib.features.request import FeatureRequest
    from lib.models.backbones import BACKBONES
    from lib.models.weights import require_weights
    from lib.number_format import choose_dtype
    from lib.runtime import pick_device, set_threads
    from lib.training.config import TrainConfig
    from lib.training.resolution import resolve_config

    config = resolve_config(
        TrainConfig(
            dataset=dataset, backbone=backbone, weights=weights, feature_stage=stage,
            pooling=None if pooling == UNPOOLED else pooling, seed=seed, input_size_px=input_size_px,
            augmentation=augmentation, device=device, dtype=dtype,
        ),
        opened := open_dataset(dataset),
    )  # fmt: skip
    policy = POLICIES.get(config.augmentation)
    if not policy.is_finite:
        raise UserError(f"The augmentation {policy.name} draws new images in each epoch, so there is nothing to keep.")
    if config.weights == "pretrained":
        require_weights(backbone)
    spec, device = BACKBONES.get(backbone), pick_device(device)
    set_threads()
    kind = choose_dtype(device)[0] if dtype == "auto" else dtype
    views = dict.fromkeys((AS_IT_IS, *finite_views(policy, num_views=0, seed=seed)))
    kept = UNPOOLED if pooling == UNPOOLED else config.pooling or spec.pooling
    size_px, name = config.input_size_px or spec.input_size_px, config.feature_stage or spec.feature_stage
    return [
        FeatureRequest(opened, backbone, config.weights, seed, name, kept, size_px, kind, view, device)
        for view in views
    ]


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"
