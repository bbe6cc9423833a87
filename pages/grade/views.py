"""The views of "Grade images", in the order of their tabs: one entry here, one module beside it."""

import importlib
from dataclasses import dataclass

from pages.grade.scene import Scene


@dataclass(frozen=True)
class ViewSpec:
    """One view; `module` of this folder has `draw(scene)`, imported when the view is opened."""

    name: str  # in the link
    title: str
    module: str

    def draw(self, scene: Scene) -> None:
        """Draw it of the graded images."""
        importlib.import_module(f"pages.grade.{self.module}").draw(scene)


VIEWS = (
    ViewSpec("passports", "Passports", "passports"),
    ViewSpec("closer", "Look closer", "closer"),
    ViewSpec("table", "Table", "table"),
    ViewSpec("folder", "Folder", "folder"),
    ViewSpec("patients", "Patients", "patients"),
    ViewSpec("take_away", "Take away", "take_away"),
)


def find_view(name: str | None) -> ViewSpec:
    """The view of that name; the first one where there is none."""
    return next((view for view in VIEWS if view.name == name), VIEWS[0])
