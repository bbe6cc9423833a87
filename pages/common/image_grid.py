"""The images of a data set: one large, and small ones of all classes side by side or of one class page by page."""

import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from lib.data.dataset import Dataset, says_ungradable
from lib.data.grades import RULES, SOURCE, SOURCE_URL
from lib.data.mask_overlay import MaskFamily, mask_color, mask_families
from lib.data.splits import EXCLUDED
from lib.figures.data_charts import SPLIT_TITLES
from pages.common import controls, resources, state
from pages.common.text import count, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles

_PER_CLASS = 5  # one row at 1280 px
_CLASSES_PER_PAGE = 6
_PER_PAGE = 30
_MOST_LARGE, _MOST_READ = 12, 60  # images to leaf through; masks that are looked at for them
_TURN = "explore_large"
_SIDE_PX = 192  # twice the drawn size, for sharp screens
_ALL = "All classes, side by side"
_OUTLINE = "explore_outline"


def show(dataset: Dataset, split: np.ndarray) -> None:
    """Draw the controls, one large image and the pictures; `split` (N,) names the split of every image."""
    titles = {**SPLIT_TITLES, EXCLUDED: "Excluded"} if (split == EXCLUDED).any() else SPLIT_TITLES
    with st.container(horizontal=True, vertical_alignment="bottom"):
        class_name = _choose_class(dataset)
        part = st.segmented_control(
            "Split", ["All", *titles.values()], default="All", required=True, key="explore_split"
        )
        if dataset.has_masks:
            st.toggle("Outline lesions", key=_OUTLINE, persist_state="session",
                      help="Rings show where the masks say that lesions are.")  # fmt: skip
    if _is_outlined(dataset):
        draw_legend(dataset)
    wanted = next((key for key, title in titles.items() if title == part), None)
    is_in_split = split != EXCLUDED if wanted is None else split == wanted
    targets = dataset.table["target"].to_numpy()
    if class_name is not None:
        is_in_split = is_in_split & (targets == dataset.class_names.index(class_name))
    rows = np.flatnonzero(is_in_split)
    large, small = st.columns([2, 3], gap="large")
    with large:
        _large(dataset, rows)
    with small:
        if class_name is None:
            _all_classes(dataset, split, targets, is_in_split)
        else:
            _one_class(dataset, split, rows)


def _large(dataset: Dataset, rows: np.ndarray) -> None:
    """One image as large as it is kept; where there are masks, what they mark in numbered families."""
    families = mask_families(dataset.spec.mask_names) if dataset.has_masks else ()
    choices = telling_rows(dataset.version, rows, _dataset=dataset)
    if not len(choices):
        return
    turn = int(st.session_state.get(_TURN, 0)) % len(choices)
    row = int(choices[turn])
    record = dataset.table.iloc[row]
    name = dataset.class_of(row)
    content, counts = resources.cached_numbered(dataset.name, dataset.version, row)
    alt = readable(f"{name}: {record['path']}")
    st.image(content, width="stretch", alt=alt)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(name)}**", width="stretch", help=plain(record["path"]))
        if len(choices) > 1:
            st.button("Another", icon=":material/refresh:", type="tertiary", key="explore_another", on_click=_turn)
    if any(counts):
        lines = [
            f"{number} · {plain(family.title)} ({count(found, 'place')})"
            for number, (family, found) in enumerate(zip(families, counts, strict=False), start=1)
            if found
        ]
        st.markdown("  \n".join(lines))


def _turn() -> None:
    st.session_state[_TURN] = int(st.session_state.get(_TURN, 0)) + 1


@st.cache_data(max_entries=32, show_spinner=False)
def telling_rows(version: str, rows: np.ndarray, *, _dataset: Dataset) -> np.ndarray:
    """Images to show large, at most `_MOST_LARGE`: those with the most families of marks first, of the last class
    first.

    The rule looks at no more than `_MOST_READ` masks, evenly chosen, so it costs the same in a large set.
    """
    if not len(rows):
        return rows
    dataset, targets = _dataset, _dataset.table["target"].to_numpy()
    families = mask_families(dataset.spec.mask_names) if dataset.has_masks else ()
    if not families:  # one of each class, in turn
        order = np.argsort(targets[rows], kind="stable")
        return rows[order][np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_LARGE)).astype(int))]
    sharp = rows[~dataset.table["flags"].iloc[rows].map(says_ungradable).to_numpy(bool)]
    read = (sharp if len(sharp) else rows)[::-1]
    read = read[np.unique(np.linspace(0, len(read) - 1, min(len(read), _MOST_READ)).astype(int))]
    found = [_num_families(dataset.mask(int(row)), families) for row in read]
    order = np.lexsort((-targets[read], -np.array(found)))
    return read[order][:_MOST_LARGE]


def _num_families(mask: np.ndarray | None, families: Sequence[MaskFamily]) -> int:
    values = set() if mask is None else set(np.unique(mask).tolist())
    return sum(bool(values & set(family.values)) for family in families)


def _choose_class(dataset: Dataset) -> str | None:
    """The class to show, kept in the link; None for all."""
    titles = {"": _ALL, **{name: name for name in dataset.class_names}}
    return controls.choose("Class", titles, "class", key="explore_class") or None


def _all_classes(dataset: Dataset, split: np.ndarray, targets: np.ndarray, is_in_split: np.ndarray) -> None:
    num_pages = -(-len(dataset.class_names) // _CLASSES_PER_PAGE)
    page = st.session_state.get("explore_class_page", 1) if num_pages > 1 else 1
    first = (min(page, num_pages) - 1) * _CLASSES_PER_PAGE
    for target in range(first, min(first + _CLASSES_PER_PAGE, len(dataset.class_names))):
        rows = np.flatnonzero(is_in_split & (targets == target))
        st.markdown(f"**{plain(dataset.class_names[target])}** · {count(len(rows), 'image')}")
        _pictures(dataset, split, rows[:_PER_CLASS])
    if num_pages > 1:
        st.pagination(num_pages, key="explore_class_page")


def _one_class(dataset: Dataset, split: np.ndarray, rows: np.ndarray) -> None:
    num_pages = max(1, -(-len(rows) // _PER_PAGE))
    page = min(st.session_state.get("explore_page", 1), num_pages) if num_pages > 1 else 1
    first = (page - 1) * _PER_PAGE
    shown = rows[first : first + _PER_PAGE]
    if not len(rows):
        st.markdown("No image of this class is in this split.")
        return
    st.markdown(f"{first + 1:,} to {first + len(shown):,} of {count(len(rows), 'image')}")
    _pictures(dataset, split, shown)
    if num_pages > 1:
        st.pagination(num_pages, key="explore_page")


def _is_outlined(dataset: Dataset) -> bool:
    return dataset.has_masks and bool(st.session_state.get(_OUTLINE))


def draw_legend(dataset: Dataset) -> None:
    """Kinds and colours of the rings; a dark ground behind each colour keeps it visible in both themes."""
    entries = "".join(
        '<span style="display:inline-flex;align-items:center;gap:8px">'
        '<span aria-hidden="true" style="width:16px;height:16px;border-radius:50%;background:#7A3B1E;'
        f'border:3px solid {mask_color(value)};outline:1px solid #5B6472"></span>{html.escape(name)}</span>'
        for value, name in enumerate(dataset.spec.mask_names, start=1)
    )
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:8px 24px">{entries}</div>')


def _pictures(dataset: Dataset, split: np.ndarray, rows: np.ndarray) -> None:
    """A row of small pictures, each a link to the image in Look inside, with the network that is looked into there."""
    tiles = []
    for row in rows:
        record = dataset.table.iloc[int(row)]
        is_ungradable = says_ungradable(record["flags"])
        content = resources.cached_thumbnail(
            dataset.name, dataset.version, int(row), _SIDE_PX, with_mask=_is_outlined(dataset)
        )
        words = (
            f"{dataset.class_of(int(row))}, {SPLIT_TITLES.get(split[row], EXCLUDED).lower()}: "
            f"{record['path']}{', ' + record['flags'] if is_ungradable else ''}; opens Look inside"
        )
        link = state.page_link("look_inside", view="stages", image=str(record["image_id"]))
        caption = "Ungradable" if is_ungradable else ""
        tiles.append(EncodedTile(content, "", caption, readable(words), link=link))
    draw_tiles(tiles, columns=_PER_CLASS, least_px=80)


def show_severity_scale() -> None:
    """The rules, one line a grade, and their source."""
    st.markdown("International Clinical Diabetic Retinopathy severity scale, as the grades of these images follow it:")
    rows = {f"{rule.grade} · {rule.name}": rule.finding for rule in RULES}
    st.table(rows, border="horizontal", alt="Grades of the severity scale and the findings that define them")
    st.caption(f"[{SOURCE}]({SOURCE_URL}). Quadrants are counted round the fovea.")
