"""`evaluate`: what a trained classifier is worth on another data set."""

import click

from lib.cli.output import ProgressLine, json_option, print_facts, print_json, print_score


@click.command()
@click.option("--run", "run_id", required=True, metavar="ID", help="The run, or a bundle's zip or folder.")
@click.option("--dataset", "dataset_name", required=True, metavar="NAME|PATH", help="The data set to evaluate on.")
@json_option
def evaluate(run_id: str, dataset_name: str, as_json: bool) -> None:
    """Evaluate a run's classifier on another data set that has the same classes.

    On the data set that it was trained on, only the test images count (of a run with folds: each image, as the fold
    that had not seen it answered); on any other one all images do. Images that the classifier has seen in its training
    are known by their content wherever they turn up, and never count.
    """
    import math

    from lib.data.importing import resolve_dataset
    from lib.evaluation.headline import Score
    from lib.grading.evaluation import evaluate_on
    from lib.grading.grader import Grader

    with ProgressLine() as progress:
        # What is only evaluated on is not split, so a class may have one image, or none.
        dataset = resolve_dataset(dataset_name, check_splits=False, progress=progress)
        result = evaluate_on(Grader.open(run_id), dataset, progress)
    if as_json:
        print_json(result)
        return
    print_score(Score.of(result, prefix=""))
    if missing := result["classes_without_images"]:
        click.echo(f"No images here of: {', '.join(missing)}; averages over classes leave them out.")
    recall = {f"recall of {name}": value for name, value in result["recall"].items()}
    facts = {key: value for key, value in result.items() if key not in ("recall", "classes_without_images")} | recall
    undefined = {key: "not defined" for key, value in facts.items() if isinstance(value, float) and math.isnan(value)}
    print_facts(facts | undefined)
