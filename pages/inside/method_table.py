"""Methods over many images of the data set: which maps beat their controls, and which hit lesions more than chance?"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from lib.data.dataset import Dataset
from lib.explain.methods import METHODS
from lib.progress import Progress
from lib.settings import cache_dir
from pages.common import background, controls
from pages.common.image_choice import current_dataset
from pages.common.text import count, plain
from pages.inside.scene import InsideNetwork

if TYPE_CHECKING:
    from lib.evaluation.resampling import Estimate
    from lib.explain.map_checks import MethodRow

NUM_IMAGES = 50
_DEFAULT = ("grad_cam", "layer_cam", "eigen_cam", "saliency")


def draw(network: InsideNetwork, stage: str) -> None:
    """The table, or the button that measures it; for a run, by the data set of the sidebar too."""
    from lib.explain.methods import offered_methods

    dataset = current_dataset()
    st.markdown(f"**Methods over {NUM_IMAGES} images**")
    if dataset is None:
        st.caption("Choose a data set in the sidebar: one image is too few to judge a method by.")
        return
    fitting = [name for name, why in offered_methods(network.load()).items() if not why]
    chosen = st.multiselect(
        "Methods to measure",
        fitting,
        default=[name for name in _DEFAULT if name in fitting],
        format_func=lambda name: METHODS.get(name).title,
        key=f"inside_table_methods_{network.key}",
        help="Slow methods take many passes for every image.",
    )
    if not chosen:
        return
    key = _key(network, dataset, chosen, stage)
    rows, task = _read(key), f"methods:{key}"
    background.show_measurement_failure(task)
    if rows is not None:
        _draw(rows, dataset, network)
        return
    if background.is_measuring(task):
        background.watch(task)
        return
    st.button(
        f"Measure {count(len(chosen), 'method')} on {NUM_IMAGES} images",
        icon=":material/table_chart:",
        key=f"start_methods_{key[:12]}",
        on_click=_start,
        args=(task, _path(key), network, dataset, (chosen, stage)),
        help="In the background, some minutes; the result is kept.",
    )


def _key(network: InsideNetwork, dataset: Dataset, methods: list[str], stage: str) -> str:
    parts = (network.key, network.inputs, dataset.content_version, stage, sorted(methods), NUM_IMAGES)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _path(key: str) -> Path:
    return cache_dir() / "method_tables" / f"{key}.json"


def _read(key: str) -> "list[MethodRow] | None":
    from lib.explain.map_checks import MethodRow

    def parse(content: dict[str, Any]) -> list[MethodRow]:
        return [MethodRow.from_dict(row) for row in content["rows"]]

    return background.kept_measurement(_path(key), parse)


def _start(task: str, path: Path, network: InsideNetwork, dataset: Dataset, asked: tuple[list[str], str]) -> None:
    methods, stage = asked
    loaded = network.load()

    def work(progress: Progress) -> None:
        from lib.atomic import write_json
        from lib.explain.map_checks import method_table, pictures_of

        pictures = pictures_of(dataset, network.inputs, NUM_IMAGES)
        rows = method_table(
            loaded, pictures, preprocessing=network.inputs, methods=methods, stage=stage or None, progress=progress
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format_version": 1, "rows": [row.to_dict() for row in rows]})

    background.start(task, f"Methods over {NUM_IMAGES} images of {dataset.spec.title}", work)


def _draw(rows: "list[MethodRow]", dataset: Dataset, network: InsideNetwork) -> None:
    import pandas as pd

    def words(interval: "Estimate", digits: int = 2) -> str:
        if np.isnan(interval.value):
            return "not defined"
        return f"{interval.value:+.{digits}f} ({interval.low:+.{digits}f} to {interval.high:+.{digits}f})"

    def share(interval: "Estimate", chance: "Estimate") -> str:
        if np.isnan(interval.value):
            return "no masks"
        return f"{interval.value:.0%} ({interval.low:.0%} to {interval.high:.0%}), chance {chance.value:.0%}"

    table = pd.DataFrame(
        [
            {
                "Method": METHODS.get(row.method).title,
                "Gain less controls": words(row.gain),
                "Deletion": words(row.deletion),
                "Insertion": words(row.insertion),
                "ROAD": words(row.road),
                "Like random weights": words(row.likeness),
                "Points at lesions": share(row.pointing, row.pointing_chance),
                "Relevance on lesions": share(row.mass, row.mass_chance),
                "Empty": row.num_empty,
            }
            for row in sorted(rows, key=lambda row: -row.gain.value)
        ]
    )
    if all(np.isnan(row.pointing.value) for row in rows):
        table = table.drop(columns=["Points at lesions", "Relevance on lesions"])
    controls.show_table(table, hide_index=True)
    controls.download_csv(table, key="methods")
    st.caption(plain(f"{reading(rows)} {_source(rows, dataset, network)}", 900))


def reading(rows: "list[MethodRow]") -> str:
    """What the table shows, in words: only what the intervals bear out."""
    better = [METHODS.get(row.method).title for row in rows if row.beats_controls]
    if not better:
        return "Not shown that any of these maps is better than its controls on these images."
    return f"Better than the mean of their controls on these images: {', '.join(better)}."


def _source(rows: "list[MethodRow]", dataset: Dataset, network: InsideNetwork) -> str:
    """Of what, from how many images, and how the intervals were made."""
    unit = "patients" if dataset.table["group_id"].astype(str).ne("").any() else "images"
    return (
        f"{network.title}, {rows[0].num_images} images of {dataset.spec.title}, the predicted class of each; means "
        f"with 95 % intervals, {unit} drawn anew. Numbers are less the mean of four controls on the same image."
    )
