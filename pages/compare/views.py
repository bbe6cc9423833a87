"""The views of "Compare runs" below the board, in the order of their tabs: one entry here, one module beside it."""

import importlib
from dataclasses import dataclass

from pages.compare.scene import Scene


@dataclass(frozen=True)
class ViewSpec:
    """One view; `module` of this folder has `draw(scene)`, imported when the view is opened."""

    name: str  # in the link
    title: str
    question: str  # what it answers: the sentence above it
    module: str

    def draw(self, scene: Scene) -> None:
        """Draw it of the selected runs."""
        importlib.import_module(f"pages.compare.{self.module}").draw(scene)


VIEWS = (
    ViewSpec("verdict", "Verdict", "Which is better, by how much, and is it real?", "verdict"),
    ViewSpec("curves", "Curves", "How did they learn?", "curves"),
    ViewSpec("matrices", "Confusion", "Which classes are taken for which?", "matrices"),
    ViewSpec("classes", "Classes", "How well is each class told apart?", "classes"),
    ViewSpec("wins", "Wins", "Which of every two is ahead, and is that more than chance?", "wins"),
    ViewSpec("roc", "ROC", "How well do they tell a class from the rest, at every threshold?", "roc"),
    ViewSpec("reliability", "Reliability", "Do their probabilities come true?", "reliability"),
    ViewSpec("referable", "Refer", "From which score on is somebody referred, and what is that worth?", "referable"),
    ViewSpec("cost", "Cost", "What does the better result cost?", "cost"),
    ViewSpec("size", "More images", "What would more training images be worth?", "size"),
    ViewSpec("images", "Images", "What does each run say of the same images, and where does it look?", "images"),
    ViewSpec("external", "Other data", "What are they worth on images from elsewhere?", "external"),
    ViewSpec("published", "Published", "What have others reached, and can it be held against these runs?", "published"),
)


def find_view(name: str | None) -> ViewSpec:
    """The view of that name; the first one where there is none."""
    return next((view for view in VIEWS if view.name == name), VIEWS[0])
