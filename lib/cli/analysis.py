"""`evaluate`, `compare` and `explain`: what a trained classifier is worth and what it looks at."""

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json, print_table
from lib.errors import UserError
from lib.settings import DEFAULT_STORE_SIDE_PX

if TYPE_CHECKING:
    import numpy as np

    from lib.data.dataset import Dataset
    from lib.evaluation.comparison import PairedComparison
    from lib.progress import Progress
    from lib.tracking.records import RunRecord

_BATCH_SIZE = 32
_COMPARED = ("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_balanced_accuracy",
             "test_quadratic_weighted_kappa", "test_auroc", "num_test", "seconds_total")  # fmt: skip


@click.command()
@click.option("--run", "run_id", required=True, metavar="ID", help="The run, or a bundle's zip or folder.")
@click.option("--dataset", "dataset_name", required=True, metavar="NAME|PATH", help="The data set to evaluate on.")
@json_option
def evaluate(run_id: str, dataset_name: str, as_json: bool) -> None:
    """Evaluate a run's classifier on another data set that has the same classes.

    On the data set that it was trained on, only the test images count; on any other one all images do.
    """
    from lib.data.library import resolve_dataset

    with ProgressLine() as progress:
        result = _evaluate(run_id, resolve_dataset(dataset_name, progress=progress), progress)
    if as_json:
        print_json(result)
    else:
        print_facts(result)


@click.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="ID ID ...")
@json_option
def compare(run_ids: tuple[str, ...], as_json: bool) -> None:
    """Compare runs: their figures with intervals, and a paired test for each two that share test images."""
    from lib import tracking

    if len(run_ids) < 2:
        raise UserError(f"Comparing needs at least two runs, received {len(run_ids)}: python -m lib compare ID ID")
    runs = [tracking.get_run(run_id) for run_id in run_ids]
    repeated = [run.short_id for position, run in enumerate(runs) if run in runs[:position]]
    if repeated:
        raise UserError(f"The run {repeated[0]} was given twice; comparing needs different runs.")
    pairs = [_pair(first, second) for first, second in combinations(runs, 2)]
    if as_json:
        rows = [{"run_id": run.run_id, "name": run.label, **{key: run.metrics.get(key) for key in _COMPARED}}
                for run in runs]  # fmt: skip
        print_json({"runs": rows, "pairs": pairs})
        return
    headings = ("id", "run", *(key.removeprefix("test_") for key in _COMPARED))
    print_table([(run.short_id, run.label, *(run.metrics.get(key) for key in _COMPARED)) for run in runs], headings)
    click.echo()
    for pair in pairs:
        click.echo(pair["sentence"])


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


def _evaluate(run_id: str, dataset: "Dataset", progress: "Progress") -> dict[str, Any]:
    import numpy as np

    from lib.evaluation.intervals import wilson_interval
    from lib.evaluation.metrics import evaluate_predictions
    from lib.grading.grader import Grader

    grader = Grader.open(run_id)
    dataset = _as_trained(dataset, grader.manifest, grader.class_names)
    targets = _targets(dataset, grader.class_names)
    rows = _rows_to_evaluate(dataset, grader.manifest)
    probabilities = _predict(grader, dataset, rows, progress)
    targets = targets[rows]
    metrics = evaluate_predictions(targets, probabilities, is_ordinal=dataset.spec.is_ordinal)
    right = int(np.sum(probabilities.argmax(1) == targets))
    low, high = wilson_interval(right, len(rows))
    return {
        "run_id": grader.run,
        "dataset": dataset.name,
        "dataset_version": dataset.version,
        "images": "all" if len(rows) == dataset.num_images else "test",
        **metrics,
        "accuracy_low": low,
        "accuracy_high": high,
    }


def _targets(dataset: "Dataset", class_names: tuple[str, ...]) -> "np.ndarray":
    """Targets as the classifier counts its classes, matched by name."""
    import numpy as np

    unknown = [name for name in dataset.class_names if name not in class_names]
    if unknown:
        raise UserError(
            f"The data set {dataset.name!r} has the class {unknown[0]!r}, which the classifier does not know "
            f"(it knows {', '.join(class_names)}); rename the class folders to match."
        )
    numbers = np.array([class_names.index(name) for name in dataset.class_names])
    return numbers[dataset.table["target"].to_numpy()]


def _as_trained(dataset: "Dataset", manifest: dict[str, Any], class_names: tuple[str, ...]) -> Any:
    """The subset that the classifier's own training took of its data set; any other data set whole.

    Classes are merged as in the training, in another data set unless it has the merged classes already.
    """
    from types import SimpleNamespace

    from lib.data.subset import take_part
    from lib.data.target_map import map_targets

    if _version_trained_on(manifest) != dataset.version:
        has_them = set(dataset.class_names) <= set(class_names)
        return dataset if has_them else map_targets(dataset, (manifest.get("config") or {}).get("target_map"))
    return take_part(dataset, SimpleNamespace(**{"split_seed": 0, "num_folds": None, **(manifest.get("config") or {})}))


def _version_trained_on(manifest: dict[str, Any]) -> Any:
    about = manifest.get("dataset")
    return about.get("version") if isinstance(about, dict) else manifest.get("dataset_version")


def _rows_to_evaluate(dataset: "Dataset", manifest: dict[str, Any]) -> "np.ndarray":
    import numpy as np

    if _version_trained_on(manifest) != dataset.version:
        return np.arange(dataset.num_images)
    config = manifest.get("config") or {}
    return np.flatnonzero(dataset.split(int(config.get("split_seed", manifest.get("split_seed", 0)))) == "test")


def _predict(grader: Any, dataset: "Dataset", rows: "np.ndarray", progress: "Progress") -> "np.ndarray":
    """Probabilities (n, K) of rows of the pixel store."""
    import numpy as np
    import torch

    from lib.data.preprocessing import to_batch

    parts = []
    for start in range(0, len(rows), _BATCH_SIZE):
        progress(start, len(rows), "Evaluating")
        batch = to_batch(
            grader.enhancement(dataset.pixels[rows[start : start + _BATCH_SIZE]]),
            size_px=int(grader.preprocessing["input_size_px"]),
            mean=grader.preprocessing["mean"],
            std=grader.preprocessing["std"],
            device=grader.device,
        )
        with torch.inference_mode():
            parts.append(grader.classifier(batch).float().softmax(dim=1).cpu().numpy())
    return np.concatenate(parts)


def _pair(first: "RunRecord", second: "RunRecord") -> dict[str, Any]:
    names = {"run_a": first.run_id, "run_b": second.run_id}
    compared = _compare_paired(first, second)
    if compared is None and first.config.get("target_map") != second.config.get("target_map"):
        sentence = (
            f"Not compared: {first.short_id} and {second.short_id} tell different classes apart "
            f"(target_map {first.config.get('target_map')} and {second.config.get('target_map')})."
        )
        return {**names, "n": 0, "sentence": sentence}
    if compared is None:
        sentence = f"Not compared: {first.short_id} and {second.short_id} share no test images (use one --split-seed)."
        return {**names, "n": 0, "sentence": sentence}
    return {**names, "difference": compared.difference, "low": compared.low, "high": compared.high,
            "p_value": compared.p_value, "n": compared.n, "sentence": compared.sentence}  # fmt: skip


def _compare_paired(first: "RunRecord", second: "RunRecord") -> "PairedComparison | None":
    from lib import tracking
    from lib.evaluation.comparison import compare_paired

    tables = []
    for run in (first, second):
        table = tracking.predictions(run.run_id)
        tables.append(table[table["split"] == "test"].drop_duplicates("image_id").set_index("image_id"))
    shared = tables[0].index.intersection(tables[1].index)
    a, b = (table.loc[shared] for table in tables)
    is_same = all(first.config.get(key) == second.config.get(key) for key in ("dataset", "target_map"))
    is_same = is_same and bool((a["target"] == b["target"]).all())
    if not len(shared) or not is_same:
        return None
    columns = [[name for name in table.columns if name.startswith("probability_")] for table in (a, b)]
    return compare_paired(
        a["target"].to_numpy(),
        a[columns[0]].to_numpy(),
        b[columns[1]].to_numpy(),
        name_a=f"{first.label} ({first.short_id})",
        name_b=f"{second.label} ({second.short_id})",
        groups=_groups(str(first.config.get("dataset")), list(shared)),
    )


def _groups(dataset_name: str, image_ids: list[str]) -> "np.ndarray | None":
    """Which images belong to one patient; None if that is not known."""
    from lib.data.library import open_dataset

    try:
        table = open_dataset(dataset_name).table.drop_duplicates("image_id").set_index("image_id")
    except UserError:
        return None
    groups = table["group_id"].reindex(image_ids).fillna("").to_numpy()
    return groups if any(groups) else None
