"""What page tests look at: a tiny data set and finished runs with invented predictions, made in milliseconds."""

import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from streamlit.testing.v1 import AppTest

from lib.data.importing import import_folder
from lib.data.library import open_dataset
from lib.evaluation.metrics import wilson_interval
from lib.settings import datasets_dir
from lib.tracking import create_run, get_run
from lib.training.strategies import STRATEGIES
from tests.kept_home import kept_home
from tests.run_store import make_run_store

ROOT = Path(__file__).resolve().parents[2]
# A class name may be anything that a folder may be called.
CLASSES = ("<b>red</b> $x^2$".replace("/", "_"), "blue")
PER_CLASS = 10


def write_images(folder: Path, per_class: int = PER_CLASS, classes: tuple[str, ...] = CLASSES) -> Path:
    """Coloured noise in one sub-folder a class, and one file that is no image."""
    generator = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = generator.integers(0, 255, (32, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    (folder / classes[0] / "notes.txt").write_text("no image")
    return folder


@lru_cache(maxsize=1)
def _imported() -> Path:
    with kept_home() as home:
        import_folder(write_images(home / "tiny"), name="tiny")
        return datasets_dir() / "tiny"


def make_dataset() -> str:
    """Put the data set "tiny" into the current library and return its name."""
    shutil.copytree(_imported(), datasets_dir() / "tiny", dirs_exist_ok=True)
    return "tiny"


def make_run(strategy: str, *, num_wrong: int = 0, epochs: int = 0, state: str = "finished") -> str:
    """A run on "tiny" whose first `num_wrong` test images are wrong, with curves of so many epochs."""
    from lib.settings import runs_dir

    if not (runs_dir() / "mlflow.db").exists():
        make_run_store()
    dataset = open_dataset("tiny")
    config = {"dataset": "tiny", "dataset_version": dataset.version, "backbone": "mobilenet_v2", "strategy": strategy}
    run = create_run({**config, "split_seed": 0}, name=f"{STRATEGIES.get(strategy).title} · MobileNetV2 · tiny")
    run.set_state("running")
    for epoch in range(1, epochs + 1):
        losses = {"train_loss": 1 / epoch, "val_loss": 1.2 / epoch}
        run.log_metrics({**losses, "train_accuracy": 1 - 0.5 / epoch, "val_accuracy": 1 - 0.6 / epoch}, step=epoch)
    if state == "finished":
        _write_results(run, config, num_wrong)
    run.finish(state, "out of patience" if state == "stopped" else "")
    return run.run_id


def _write_results(run, config, num_wrong):
    dataset = open_dataset("tiny")
    is_test = dataset.split(0) == "test"
    table = dataset.table[is_test]
    predicted = table["target"].to_numpy().copy()
    predicted[:num_wrong] = 1 - predicted[:num_wrong]
    chosen = np.where(np.arange(2) == predicted[:, None], 0.9, 0.1)
    columns = {"image_id": table["image_id"].to_numpy(), "split": "test", "target": table["target"].to_numpy()}
    pd.DataFrame({**columns, "probability_0": chosen[:, 0], "probability_1": chosen[:, 1]}).to_parquet(
        run.folder / "predictions.parquet"
    )
    num_test = int(is_test.sum())
    low, high = wilson_interval(num_test - num_wrong, num_test)
    run.log_summary(
        {**config, "state": "finished", "test_accuracy": 1 - num_wrong / num_test, "test_accuracy_low": low,
         "test_accuracy_high": high, "test_quadratic_weighted_kappa": 1.0 if num_wrong == 0 else 0.0,
         "num_test": num_test, "seconds_total": 12.5}
    )  # fmt: skip


def open_page(name: str, *, through_app: bool = True, **view: str) -> AppTest:
    """Run a page through `app.py`, or alone as Streamlit does on a deep link to a fresh server."""
    at = AppTest.from_file(str(ROOT / ("app.py" if through_app else f"pages/{name}.py")), default_timeout=60)
    for key, value in view.items():
        at.query_params[key] = value
    if through_app and name != "start":
        at.switch_page(f"pages/{name}.py")  # before the first run: the start page is not drawn for nothing
    at.run()
    assert not at.exception, at.exception
    return at


def open_comparison(runs: list[str], tab: str, **view: str) -> AppTest:
    """Open a view of "Compare runs" with those runs selected, on the data set of the first; no error is shown."""
    dataset = str(get_run(runs[0]).config["dataset"])
    at = open_page("compare_runs", runs=",".join(runs), tab=tab, dataset=dataset, **view)
    assert not at.error, [error.value for error in at.error]
    return at


def words(at: AppTest) -> str:
    """Everything a person can read in the main part and the sidebar, one string."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "error", "warning", "success", "info")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def plain_words(at: AppTest) -> str:
    """The same without the backslashes that keep names literal."""
    return words(at).replace("\\", "")


def page_links(at: AppTest) -> dict[str, str]:
    """The links to other pages: label -> query."""
    return {element.proto.label: element.proto.query_string for element in at.get("page_link")}


def html_of(at: AppTest) -> str:
    """All of the pages' own HTML."""
    return " ".join(str(element.proto.body) for element in at.get("html"))


def link(at: AppTest, key: str) -> str:
    """The value of a key in the page's complete address, which a component writes: AppTest has none."""
    return at.session_state["view_shown"].get(key, "")
