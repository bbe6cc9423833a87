"""Images side by side under all runs, page by page, or one of them large, with maps, answers and keys."""

import html
from dataclasses import dataclass

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.dataset import Dataset
from lib.evaluation.verdict import EXPECTED_GRADE, describe_share
from lib.grading.image_answers import RunAnswers, SharedAnswers
from lib.grading.run_maps import why_no_maps
from lib.tracking.scores import trained_classes
from pages.common import controls, keyboard, resources, state
from pages.common.pinned_pictures import GRID_STYLE, grid_tile
from pages.common.run_maps import AskedMaps, ensure_maps, map_pictures
from pages.common.text import count, joined, percent, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles

_PER_PAGE = 8
_TILE_PX, _LARGE_PX = 160, 384
_LEAST_SHARE = 0.005  # below that it would read "0 %"
_KEYS = {
    "ArrowRight": "images_next", "ArrowDown": "images_next", "j": "images_next",
    "ArrowLeft": "images_back", "ArrowUp": "images_back", "k": "images_back", "Escape": "images_close",
}  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """Draws images with the answers of all runs."""

    shared: SharedAnswers
    dataset: Dataset
    has_maps: bool
    progress: DeltaGenerator  # where making maps is watched: beside the sentence, so that no picture moves

    def show(self, rows: np.ndarray) -> None:
        """The images of those rows; where the link has one (key `at`), that one large."""
        at = state.current("at")
        places = np.flatnonzero(self.shared.image_ids == at) if at else np.empty(0, int)
        if at and not len(places):
            st.caption(f"The image {plain(at[:24])} of the link is not among those that these runs were tested on.")
        if len(places):
            self._large(int(places[0]), rows)
        elif len(rows):
            self._page(rows)
        keyboard.listen(_KEYS)

    def _page(self, rows: np.ndarray) -> None:
        num_pages = -(-len(rows) // _PER_PAGE)
        key = f"compare_images_page_{hash((state.current('filter'), state.current('class'), len(rows)))}"
        page = min(int(st.session_state.get(key) or 1), num_pages)
        shown = rows[(page - 1) * _PER_PAGE :][:_PER_PAGE]
        asked = self._ask_maps(shown)
        heads = ["Image", *(run.label for run in self.shared.runs)]
        cells = [
            f'<div class="rp-head">{_escaped(head)}<br><span>{_escaped(note)}</span></div>'
            for head, note in zip(heads, ["", *(self._right_words(run) for run in self.shared.runs)], strict=True)
        ]
        found = {one.run_id: map_pictures(self.dataset, one) for one in asked}
        places = self._places(shown)
        for position, (row, place) in enumerate(zip(shown, places, strict=True)):
            cells.append(self._plain_tile(int(row), place))
            for run in self.shared.runs:
                content = found[run.run_id][_position(places, position)] if run.run_id in found and place >= 0 else None
                cells.append(self._run_tile(run, int(row), place, content))
        columns = f"repeat({len(heads)}, minmax(0, {'1fr' if len(heads) > 5 else '190px'}))"
        st.html(f'{GRID_STYLE}<div class="rp" style="grid-template-columns:{columns}">{"".join(cells)}</div>')
        with st.container(horizontal=True, vertical_alignment="center"):
            if num_pages > 1:
                st.pagination(num_pages, default=page, key=key)
            st.button(
                "Look at them one by one", key="images_next", icon=":material/keyboard:", type="tertiary",
                on_click=state.remember, args=("at", str(self.shared.image_ids[shown[0]])),
                help="Then the arrow keys or j and k walk, and Escape comes back.",
            )  # fmt: skip

    def _large(self, place: int, rows: np.ndarray) -> None:
        """One image as large as it is kept, with all runs' maps and answers."""
        shared, ids = self.shared, self.shared.image_ids
        position = np.flatnonzero(rows == place)
        number = int(position[0]) if len(position) else -1
        back = ids[rows[number - 1]] if number > 0 else None
        ahead = ids[rows[number + 1]] if number + 1 < len(rows) else None
        with st.container(horizontal=True, vertical_alignment="center"):
            words = f"{number + 1:,} of {len(rows):,}" if number >= 0 else "Not among the images of this filter"
            st.markdown(f"**{words}** · {plain(shared.class_names[shared.targets[place]])}", width="stretch")
            for label, key, icon, target in (
                ("Previous", "images_back", ":material/chevron_left:", back),
                ("Next", "images_next", ":material/chevron_right:", ahead),
            ):
                st.button(
                    label, key=key, icon=icon, disabled=target is None, on_click=state.remember,
                    args=("at", None if target is None else str(target)), help="Arrow keys, or j and k.",
                )  # fmt: skip
            st.button(
                "All", key="images_close", icon=":material/grid_view:", on_click=state.remember, args=("at", None),
                help="Back to all images: Escape.",
            )  # fmt: skip
        asked = self._ask_maps(np.array([place]))
        found = {one.run_id: map_pictures(self.dataset, one, side_px=_LARGE_PX)[0] for one in asked}
        row = int(self._places(np.array([place]))[0])
        if row < 0:
            st.caption("This image is not in the data set any more; what was answered to it is listed.")
            controls.show_table(shared.table(np.array([place])), hide_index=True, alt="The answers to this image")
            return
        tiles = [self._large_tile(run, place, row, found.get(run.run_id)) for run in shared.runs]
        path = str(self.dataset.table["path"].iloc[row])
        own = EncodedTile(self._thumbnail(row, _LARGE_PX), "Image", path, readable(path))
        columns = len(tiles) + 1 if len(tiles) < 5 else -(-(len(tiles) + 1) // 2)
        draw_tiles([own, *tiles], columns=max(3, columns), least_px=120)

    def _large_tile(self, run: RunAnswers, place: int, row: int, content: bytes | None) -> EncodedTile:
        shares = run.tested.probabilities[place]
        order = [number for number in np.argsort(-shares, kind="stable")[:3] if number != run.answers[place]][:2]
        names = self.shared.class_names
        shown = [f"{names[own]} {percent(float(shares[own]), 0)}" for own in order if shares[own] >= _LEAST_SHARE]
        others = f". Then {', '.join(shown)}" if shown else ""
        says = self._says(run, place)
        return EncodedTile(
            content or self._thumbnail(row, _LARGE_PX), run.label, f"{says}{others}", f"{run.label}: {says}",
            is_marked=bool(run.is_right[place]), link=self._inside(run, place),
        )  # fmt: skip

    def _plain_tile(self, row: int, place: int) -> str:
        truth = readable(self.shared.class_names[self.shared.targets[row]], 40)
        if place < 0:
            return f'<div class="rp-empty">{_escaped(truth)}<br><span>its picture is gone</span></div>'
        link = state.page_link("compare_runs", at=str(self.shared.image_ids[row]))
        return grid_tile(
            self._thumbnail(place, _TILE_PX), truth, "its class", alt=f"{truth}; opens it large", link=link
        )

    def _run_tile(self, run: RunAnswers, row: int, place: int, content: bytes | None) -> str:
        name = readable(self.shared.class_names[run.answers[row]], 40)
        says = f"{describe_share(float(run.confidences[row]))}, {'right' if run.is_right[row] else 'wrong'}"
        if place < 0:
            return f'<div class="rp-empty">{_escaped(name)}<br><span>{_escaped(says)}</span></div>'
        alt = f"{run.label} says {name}, {says}; opens Look inside"
        picture = content or self._thumbnail(place, _TILE_PX)
        return grid_tile(picture, name, says, alt=alt, is_right=bool(run.is_right[row]), link=self._inside(run, row))

    def _says(self, run: RunAnswers, row: int) -> str:
        name, share = self.shared.class_names[run.answers[row]], describe_share(float(run.confidences[row]))
        return f"{name} {share}, {'right' if run.is_right[row] else 'wrong'}"

    def _inside(self, run: RunAnswers, row: int) -> str:
        image = str(self.shared.image_ids[row])
        return state.page_link("look_inside", view="stages", dataset=self.dataset.name, image=image, run=run.run_id)

    def _right_words(self, run: RunAnswers) -> str:
        return f"{int(run.is_right.sum()):,} of {len(run.is_right):,} right"

    def _thumbnail(self, place: int, side_px: int) -> bytes:
        return resources.cached_thumbnail(self.dataset.name, self.dataset.version, place, side_px)

    def _places(self, rows: np.ndarray) -> np.ndarray:
        """Where the images stand in the data set's table; -1 for one that is not in it any more."""
        known = _rows_by_id(self.dataset.name, self.dataset.version, _dataset=self.dataset)
        return np.array([known.get(str(image_id), -1) for image_id in self.shared.image_ids[rows]], dtype=int)

    def _ask_maps(self, rows: np.ndarray) -> list[AskedMaps]:
        """The maps of the runs that have some; what is missing is made, with progress and a way to stop it."""
        if not self.has_maps:
            return []
        places = self._places(rows)
        here = places >= 0
        asked = [
            AskedMaps(run.run_id, run.label, tuple(places[here].tolist()), tuple(run.answers[rows][here].tolist()))
            for run in self.shared.runs
            if not _why_no_maps(run)
        ]
        with self.progress:
            ensure_maps(self.dataset, asked)
        return asked


def _position(places: np.ndarray, position: int) -> int:
    """Where the map of an image stands among those that were asked for: the ones that are in the data set."""
    return int((places[:position] >= 0).sum())


@st.cache_resource(max_entries=8, show_spinner=False)
def _rows_by_id(name: str, version: str, *, _dataset: Dataset) -> dict[str, int]:
    return {str(image_id): row for row, image_id in enumerate(_dataset.table["image_id"])}


def show_notes(shared: SharedAnswers, *, has_maps: bool) -> None:
    """What must be known to read the pictures."""
    runs = shared.runs
    says = []
    if has_maps:
        reasons = {run.label: _why_no_maps(run) for run in runs}
        if not all(reasons.values()):
            says.append("Maps: Grad-CAM of the class that the run answers; bright yellow speaks for it most.")
        if none := [f"{label} ({reason})" for label, reason in reasons.items() if reason]:
            says.append(f"No maps of {joined(none)}.")
    by_grade = [run.label for run in runs if run.rule == EXPECTED_GRADE]
    if by_grade and len(by_grade) < len(runs):
        says.append(f"By the expected grade: {joined(by_grade)}; the others have no limits for it.")
    if any(run.tested.folds is not None for run in runs):
        says.append(
            "Of a run with folds each answer is that of the fold that had not seen the image; its map is of the "
            "classifier that the run keeps, which has seen it."
        )
    if says:
        st.caption(plain(" ".join(says), 1200))


def _why_no_maps(run: RunAnswers) -> str:
    """Why there are no maps of a run's answers, as a part of a sentence; "" where there are."""
    own = trained_classes(run.tested.run.folder)
    if own is not None and own[0] != run.tested.class_names:
        return "its classes were merged for these images"
    return why_no_maps(run.run_id)


def show_without_pictures(shared: SharedAnswers, rows: np.ndarray) -> None:
    config = shared.runs[0].tested.run.config
    st.markdown(
        plain(
            f"The data set {config.get('dataset')!r} of these runs, or its version "
            f"{str(config.get('dataset_version') or '')[:12]}, is not in the library any more, so there are no "
            f"pictures; the answers to {count(len(rows), 'image')} are listed.",
            400,
        )
    )
    table = shared.table(rows)
    controls.show_table(table, hide_index=True, alt="Images with the answer and the confidence of each run")
    controls.download_csv(table, key="image_answers")


def _escaped(text: str) -> str:
    return html.escape(readable(text, 60))
