"""`datasets gap`: how far a data set is from what networks learned from, stage by stage."""

from typing import TYPE_CHECKING

import click

from lib.cli.output import ProgressLine, json_option, note, print_json, print_table
from lib.cli.storage import backbone_or_default
from lib.settings import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from lib.advisor.gap import DomainGap

ALL = "all"
NO_WEIGHTS, NO_SOURCE = "weights not here", "random weights only"


@click.command("gap")
@click.argument("name")
@click.option("--backbone", metavar="NAME|all", help=f"The network, or all whose weights are here.  "
              f"[default: {DEFAULT_BACKBONE}]")  # fmt: skip
@click.option("--split-seed", type=int, default=0, show_default=True, help="Whose training images are looked at.")
@json_option
def gap(name: str, backbone: str | None, split_seed: int, as_json: bool) -> None:
    """Say how far a data set is from what a network learned from, stage by stage, and what follows.

    Where a network has BatchNorm, its running statistics are those of the pretraining; elsewhere the images are
    compared with photographs that come with scikit-image and scikit-learn. At most 128 training images run once through
    each network; test images are not looked at. What was measured is kept.
    """
    from lib.advisor.gap_measurement import measure_gap
    from lib.data.library import open_dataset
    from lib.models.backbones import BACKBONES
    from lib.models.weights import all_weights_status, require_weights
    from lib.precision import choose_dtype
    from lib.runtime import pick_device, set_threads

    dataset, at_hand = open_dataset(name), {one.backbone: one.is_cached for one in all_weights_status()}
    names = sorted(BACKBONES.names, key=lambda one: one != DEFAULT_BACKBONE)
    if backbone != ALL:
        names = [backbone_or_default(backbone)]
        BACKBONES.get(names[0])
        require_weights(names[0])
        at_hand[names[0]] = True
    set_threads()
    device = pick_device("auto")
    dtype = choose_dtype(device)[0]
    found: dict[str, DomainGap] = {}
    with ProgressLine() as progress:
        for one in (each for each in names if at_hand.get(each)):

            def report(done: int, total: int, what: str, *, title: str = BACKBONES.get(one).title) -> None:
                progress(done, total, f"{title}: {what}")

            found[one] = measure_gap(
                dataset, one, split_seed=split_seed, device=device, dtype=dtype, progress=report
            )  # fmt: skip
    missing = {one: NO_WEIGHTS if BACKBONES.get(one).has_weights else NO_SOURCE for one in names if one not in found}
    if as_json:
        rows = {one: each.to_dict() for one, each in found.items()}
        print_json({"dataset": name, "networks": rows, "not_measured": missing})
        return
    if backbone == ALL:
        _print_all(found, missing)
        return
    _print_one(found[names[0]])


def _print_one(found: "DomainGap") -> None:
    from lib.advisor.gap import consequence, method_words, reading

    headings = (
        "stage",
        "name",
        "distance",
        "shift",
        "log variance",
        "photographs",
        "eyes",
        "noise",
        "place",
        "in words",
    )
    print_table([(f"{number} {row.title}", row.stage, row.distance, row.shift, row.log_variance, row.photographs,
                  row.eyes, row.noise, row.place, row.short.format(source=found.source_words))
                 for number, row in enumerate(found.stages, start=1)], headings)  # fmt: skip
    click.echo(f"\n{reading(found)}\n{consequence(found)}\n\n{method_words(found)}")


def _print_all(found: "dict[str, DomainGap]", missing: dict[str, str]) -> None:
    from lib.advisor.gap import reading

    rows = [(one.backbone, one.source_words, one.distance, one.place, reading(one)) for one in found.values()]
    print_table(rows, ("network", "from", "distance", "place", "in words"))
    for name, why in missing.items():
        note(f"{name}: {why}" + (f" (python -m lib weights download {name})" if why == NO_WEIGHTS else ""))
