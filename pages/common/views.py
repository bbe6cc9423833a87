"""The views of a page, side by side as tabs: the page's own table names them, one module of its folder draws each."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pages.common import controls


@dataclass(frozen=True)
class ViewSpec:
    """One view; its module has `draw(scene)` and is imported when the view is opened."""

    name: str  # in the link
    title: str
    module: str  # with its folder, such as "compare.verdict"
    question: str = ""  # what it answers: the sentence above it
    with_target: bool = False  # whether the class to explain is chosen above

    def draw(self, scene: Any) -> None:
        """Draw it of the page's scene."""
        importlib.import_module(f"pages.{self.module}").draw(scene)


def find_view(views: Sequence[ViewSpec], name: str | None) -> ViewSpec:
    """The view of that name; the first one where there is none."""
    return next((view for view in views if view.name == name), views[0])


def draw_tabs(views: Sequence[ViewSpec], view: ViewSpec, view_key: str, *, key: str) -> None:
    """The views side by side, `view` chosen; only the chosen one is computed. `view_key` holds it in the link."""
    titles = {one.name: one.title for one in views}
    controls.choose("View", titles, view_key, key=key, value=view.name, is_segmented=True, label_visibility="collapsed")
