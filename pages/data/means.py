"""The mean image of each class, and where it differs from the mean of all."""

import numpy as np
import streamlit as st

from lib.data.class_means import ClassMeans, class_means
from lib.explain.pictures import signed_picture, to_jpeg
from lib.figures.data_charts import SPLIT_TITLES
from pages.common import controls
from pages.common.text import count, percent, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.data.measured import made_once
from pages.data.scene import Scene

_LEAST_RANGE = 2.0  # times what may be chance: the colours span at least that, so that noise stays pale
_MOST_CLASSES = 24
_SHOWN_PX = 192
_TOLD = 3  # classes in words


def draw(scene: Scene) -> None:
    """Means, differences and, for fundus photographs, how much each place varies."""
    parts = {"": "All images", **{part: title for part, title in SPLIT_TITLES.items() if (scene.split == part).any()}}
    part = controls.choose("Of", parts, "split", key="means_split", is_segmented=True, label_visibility="collapsed")
    name = f"means {scene.dataset.version} {scene.split_seed} {part}"
    found = made_once(
        (str(scene.dataset.folder), name),
        name,
        f"Averaging the images of {scene.dataset.spec.title or scene.dataset.name}",
        "Average the images",
        make=lambda progress: class_means(scene.dataset, scene.split, part, progress=progress),
    )  # fmt: skip
    if found is None:
        st.markdown("Each class is averaged pixel by pixel once; then all is at hand.")
        return
    shown = [target for target in range(len(found.counts)) if found.counts[target]][:_MOST_CLASSES]
    if not shown:
        st.markdown("No image takes part yet.")
        return
    chance = max(found.chance(target) for target in shown)
    largest = max(_LEAST_RANGE * chance, *(float(np.abs(found.difference(target)).max()) for target in shown))
    _tell(found, shown)
    tiles = [
        _tile(found.mean, "All images", count(int(found.counts.sum()), "image")),
        *(
            _tile(found.means[target], found.class_names[target], count(int(found.counts[target]), "image"))
            for target in shown
        ),
    ]
    columns = 6
    st.markdown("**Mean images**")
    draw_tiles(tiles, columns=columns, least_px=110)
    st.markdown(
        "**Difference from the mean of all**",
        help="Grey level, in standard deviations of single images at that place. Red is lighter than all, blue darker.",
    )  # fmt: skip
    draw_tiles([_difference(found, target, largest) for target in shown], columns=columns, least_px=110)
    st.caption(
        f"One scale for all: full red and full blue are {largest:.2f} standard deviations. What is paler than "
        f"{chance:.2f} may be chance, by the number of images (those of a patient count once)."
    )
    if scene.dataset.spec.is_fundus:
        st.markdown("**How much each place varies** (standard deviation over all images; light varies most)")
        spread = found.deviation
        shining = 255 * spread / max(1.0, float(spread.max()))
        draw_tiles([_tile(shining, "All images", f"up to {spread.max():.0f} levels")], columns=columns, least_px=110)


def _tell(found: ClassMeans, shown: list[int]) -> None:
    """In words, which classes differ over how much of the picture, the most first."""
    shares = {target: float((np.abs(found.difference(target)) > found.chance(target)).mean()) for target in shown}
    ordered = sorted((target for target in shown if shares[target] >= 0.01), key=lambda target: -shares[target])
    if not ordered:
        st.markdown(
            "The mean images are alike: no class differs from all over more than 1\u00a0% of the picture by more than "
            "chance would give."
        )
        return
    for target in ordered[:_TOLD]:
        values = found.difference(target)
        place = np.abs(values).argmax()
        direction = "lighter" if values.flat[place] > 0 else "darker"
        st.markdown(
            f"- **{plain(found.class_names[target])}** differs from all over {percent(shares[target], 0)} of the "
            f"picture, most {_where(place, len(values))}: {abs(float(values.flat[place])):.2f} standard deviations "
            f"{direction}."
        )
    st.caption("A network can learn such a place instead of the subject; the images of a class may lie alike, too.")


def _where(place: int, side: int) -> str:
    """A place of a square in words: "at the upper left", "in the middle"."""
    row, column = divmod(int(place), side)
    down = ("upper", "", "lower")[min(2, 3 * row // side)]
    across = ("left", "", "right")[min(2, 3 * column // side)]
    return f"at the {' '.join(filter(None, (down, across)))}" if down or across else "in the middle"


def _difference(found: ClassMeans, target: int, largest: float) -> EncodedTile:
    values = found.difference(target)
    title = readable(found.class_names[target])
    low, high = float(values.min()), float(values.max())
    return EncodedTile(
        to_jpeg(signed_picture(values, _SHOWN_PX, largest=largest)), title, f"{low:+.2f} to {high:+.2f}",
        f"{title}: mean less the mean of all, {low:+.2f} to {high:+.2f} standard deviations",
    )  # fmt: skip


def _tile(mean: np.ndarray, title: str, caption: str) -> EncodedTile:
    pixels = np.clip(np.rint(mean), 0, 255).astype(np.uint8)
    return EncodedTile(to_jpeg(pixels), readable(title), caption, readable(f"Mean image of {title}, {caption}"))
