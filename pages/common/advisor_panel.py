"""Which strategy suits these images: the guide of four scenarios, measured on a click, taken over with another."""

import numpy as np
import streamlit as st

from lib.advisor.guide import Advice, advice_command, counted_words, kept_advice
from lib.data.dataset import Dataset
from lib.data.library import open_dataset
from lib.figures.guide_chart import guide_figure, guide_text
from lib.models.backbones import BACKBONES
from lib.training.config import TrainConfig
from lib.training.preparation import fit_splits
from lib.training.strategies import STRATEGIES
from pages.common import background, controls, resources
from pages.common.errors import show_errors
from pages.common.text import plain


def draw_advisor(config: TrainConfig) -> None:
    """An expander that is drawn only when it is open."""
    box = st.expander("Which strategy suits these images?", key="train_advisor", on_change="rerun")
    if not box.open:
        return
    with box, show_errors("show the suggestion"):
        spec = BACKBONES.get(config.backbone)
        if not resources.weights_at_hand().get(config.backbone, False):
            st.caption(
                f"The pretrained weights of {plain(spec.title)} are not on this machine; without them there is no "
                "source domain to compare the images with."
            )
            return
        dataset = open_dataset(config.dataset)
        path = kept_advice(dataset.version, config)
        name = f"advice {path.stem}"
        background.show_measurement_failure(name)
        found = background.kept_measurement(path, Advice.from_dict)
        if found is None:
            _offer(config, dataset, name)
            return
        background.forget(name)
        _draw(found, config, dataset.spec.title)


def _offer(config: TrainConfig, dataset: Dataset, name: str) -> None:
    targets = dataset.table["target"].to_numpy()[fit_splits(dataset, config)[0] == "train"]
    least = int(np.bincount(targets, minlength=dataset.spec.num_classes).min())
    figure = guide_figure(None, name=dataset.spec.title, is_dark=controls.is_dark(), least_per_class=least)
    alt = f"Four scenarios by size and similarity; {least} training images in the rarest class, similarity not measured"
    controls.show_figure(figure, alt=alt, key="train_guide_before")
    st.caption(
        "Looks at how many training images there are and how far their features lie from the images that the network "
        "learned from. Nothing is trained, and test images are not looked at."
    )
    st.button(
        "Measure the images", icon=":material/explore:", key="train_advise", on_click=background.start_measurement,
        args=(name, "Measuring the images …", advice_command(config)), disabled=background.is_measuring(name),
    )  # fmt: skip
    background.watch(name)


def _draw(advice: Advice, config: TrainConfig, title: str) -> None:
    strategy = STRATEGIES.get(advice.strategy)
    settings = [f"the head reads {_stage_label(config.backbone, advice.feature_stage)}"] if advice.feature_stage else []
    settings += [f"{advice.epochs} epochs"] if advice.epochs else []
    st.markdown(
        f"**{strategy.title}**{plain(', ' + ', '.join(settings)) if settings else ''}: {plain(advice.reason, 400)}"
    )
    figure = guide_figure(advice, name=title, is_dark=controls.is_dark())
    controls.show_figure(figure, alt=guide_text(advice), key="train_guide")
    st.markdown(score_words(advice))
    if counted := counted_words(config):
        st.caption(f"Measured on the images of this form: {plain(counted, 200)}.")
    st.button(
        "Take the suggestion", icon=":material/check:", key="train_take_advice", on_click=take,
        args=(advice, config.backbone),
    )  # fmt: skip
    st.caption(
        f"A rule of thumb, not a measurement of the result: {plain(advice.source)}. The guide names no numbers; "
        "where small ends and different begins is set here, between anchors that were measured."
    )
    with st.popover("By stage", type="tertiary", icon=":material/table:"):
        rows = [
            {
                "Stage": _stage_label(config.backbone, reading.stage),
                "Distance": reading.distance,
                "LogME": reading.logme,
            }
            for reading in advice.readings.stages
        ]
        number = st.column_config.NumberColumn(format="%.3f")
        controls.show_table(rows, hide_index=True, column_config={"Distance": number, "LogME": number})


def _stage_label(backbone: str, stage: str) -> str:
    spec = BACKBONES.get(backbone)
    return spec.stage(stage).label if stage in spec.stage_names else stage


def score_words(advice: Advice) -> str:
    """The quick scores of frozen features, as Markdown."""
    readings = advice.readings
    parts = []
    if readings.nearest_centroid is not None:
        parts.append(f"nearest class centroid: balanced accuracy {readings.nearest_centroid:.2f} (cross-validated)")
    if readings.logme is not None:
        parts.append(f"LogME {readings.logme:.2f} (higher transfers better)")
    scores = "; ".join(parts) or "too few images for scores"
    return f"Frozen features of {readings.num_scored:,} training images: {scores}."


def take(advice: Advice, backbone: str) -> None:
    """Fill the form with the suggestion; what it leaves open goes back to its default."""
    st.session_state["train_strategy"] = advice.strategy
    st.session_state[f"train_feature_stage_{backbone}"] = advice.feature_stage or ""
    st.session_state.pop(f"train_unfreeze_from_{backbone}", None)
    strategy = STRATEGIES.get(advice.strategy)
    if strategy.is_iterative:
        st.session_state[f"train_epochs_{advice.strategy}"] = advice.epochs or strategy.default_epochs
