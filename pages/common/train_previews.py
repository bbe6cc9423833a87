"""What training will see of the data set: preprocessing before and after, and drawn views of the augmentation."""

import numpy as np
import streamlit as st

from lib.data.augmentation import POLICIES
from lib.data.enhancement import ENHANCEMENTS, EnhancementChain, fit_chain, parse_chain
from lib.errors import UserError
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES
from pages.common import resources, state
from pages.common.text import plain_message
from pages.common.tiles import EncodedTile, draw_tiles

NUM_IMAGES, NUM_VIEWS, SIDE_PX = 4, 5, 160
_STEPS_HELP = (
    "Changes every image before the network sees it: in training, in explanations and in grading. Made for fundus "
    "photographs, whose light and field differ from camera to camera; ordinary photographs rarely need it."
)


def choose_preprocessing() -> str | None:
    """Draw the choice of steps; returns a chain such as "brightness+clahe", or None for images as they are."""
    taken = st.session_state.get("train_preprocessing") or []
    is_fundus = resources.is_fundus(state.current_dataset())
    titles = {
        step.name: step.title for step in ENHANCEMENTS if is_fundus or not step.is_for_fundus or step.name in taken
    }
    chosen = st.multiselect(
        "Preprocessing",
        list(titles),
        format_func=titles.__getitem__,
        placeholder="none",
        help=_STEPS_HELP,
        key="train_preprocessing",
        persist_state="session",
    )
    try:
        return "+".join(parse_chain("+".join(chosen))) or None
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
        return None


def draw_previews(config: TrainConfig) -> None:
    """An expander with the pictures; nothing is computed before it is opened."""
    panel = st.expander("What training will see", icon=":material/visibility:", key="train_preview", on_change="rerun")
    summary = resources.find_summary(config.dataset)
    if not panel.open or summary is None or not summary.num_images:
        return
    with panel:
        chain_text, policy = config.preprocessing, POLICIES.get(config.augmentation)
        if chain_text != "none":
            st.markdown("**Preprocessing**, before and after")
            names = [ENHANCEMENTS.get(name) for name in parse_chain(chain_text)]
            st.caption(" ".join(f"{step.title}: {step.summary} ({step.source})" for step in names))
            draw_tiles(
                _before_and_after(summary.name, summary.version, chain_text, config.split_seed), columns=4, least_px=40
            )
        if not STRATEGIES.get(config.strategy).is_iterative:
            return  # fitted in one go on the images as they are
        st.markdown(f"**Augmentation: {policy.title}**, the first {NUM_VIEWS} epochs of {NUM_IMAGES} training images")
        st.caption(policy.summary)
        tiles = _drawn(
            summary.name,
            summary.version,
            chain_text,
            augmentation=config.augmentation,
            num_views=config.num_views,
            seed=config.seed,
            split_seed=config.split_seed,
        )
        draw_tiles(tiles, columns=NUM_VIEWS, least_px=40)


def _train_rows(name: str, version: str, split_seed: int) -> np.ndarray:
    """A few training images, spread over the classes."""
    dataset = resources.cached_dataset(name, version)
    rows = np.flatnonzero(dataset.split(split_seed) == "train")
    targets = dataset.table["target"].to_numpy()[rows]
    ordered = rows[np.argsort(targets, kind="stable")]
    return ordered[np.linspace(0, len(ordered) - 1, min(NUM_IMAGES, len(ordered))).astype(int)]


@st.cache_data(max_entries=16, show_spinner="Preprocessing a few images …")
def _chain(name: str, version: str, steps: str, split_seed: int) -> EnhancementChain:
    """The chain as training fits it, from the mean colour of training images."""
    dataset = resources.cached_dataset(name, version)
    rows = np.flatnonzero(dataset.split(split_seed) == "train")
    return fit_chain(steps, dataset.pixels, rows)


@st.cache_data(max_entries=16, show_spinner="Preprocessing a few images …")
def _before_and_after(name: str, version: str, steps: str, split_seed: int) -> list[EncodedTile]:
    dataset, rows = resources.cached_dataset(name, version), _train_rows(name, version, split_seed)
    pixels = np.array(dataset.pixels[rows])
    after = _chain(name, version, steps, split_seed)(pixels)
    classes = [dataset.class_names[target] for target in dataset.table["target"].to_numpy()[rows]]
    before_tiles = [_tile(image, "Before", title) for image, title in zip(pixels, classes, strict=True)]
    return before_tiles + [_tile(image, "After", title) for image, title in zip(after, classes, strict=True)]


@st.cache_data(max_entries=16, show_spinner="Drawing views …")
def _drawn(
    name: str, version: str, steps: str, *, augmentation: str, num_views: int | None, seed: int, split_seed: int
) -> list[EncodedTile]:
    from lib.training.inputs import augmented_views

    dataset, rows = resources.cached_dataset(name, version), _train_rows(name, version, split_seed)
    pixels = _chain(name, version, steps, split_seed)(np.array(dataset.pixels[rows]))
    image_ids = dataset.table["image_id"].to_numpy()[rows].tolist()
    views = augmented_views(
        pixels, image_ids, augmentation, num_views=num_views, seed=seed, num_epochs=NUM_VIEWS, size_px=SIDE_PX
    )
    classes = [dataset.class_names[target] for target in dataset.table["target"].to_numpy()[rows]]
    return [
        _tile(view, f"Epoch {epoch + 1}", title)
        for image, title in zip(views, classes, strict=True)
        for epoch, view in enumerate(image)
    ]


def _tile(pixels: np.ndarray, title: str, caption: str) -> EncodedTile:
    from lib.explain.pictures import to_jpeg

    return EncodedTile(to_jpeg(pixels, max_side_px=SIDE_PX), title, caption, f"{caption}: {title.lower()}")
