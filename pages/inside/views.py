"""The views of "Look inside", in the order of their tabs: a new view is one entry here and one module beside it."""

import importlib
from dataclasses import dataclass

from pages.inside.scene import Scene


@dataclass(frozen=True)
class ViewSpec:
    """One view; `module` of this folder has `draw(scene)`, imported when the view is opened."""

    name: str  # in the link
    title: str
    question: str  # what it answers: the sentence under the page's title
    module: str
    with_target: bool = False  # whether the class to explain is chosen above

    def draw(self, scene: Scene) -> None:
        """Draw it below the choices."""
        importlib.import_module(f"pages.inside.{self.module}").draw(scene)


VIEWS = (
    ViewSpec("worth", "Stage worth", "Which stage is worth most for your images, and what of it is borrowed?", "worth"),
    ViewSpec(
        "networks", "Networks", "What did training change: one image through several networks, stage by stage?",
        "networks",
    ),
    ViewSpec(
        "stages", "Stages", "What does the network see in one image, from generic edges to the parts of a class?",
        "stages", with_target=True,
    ),
    ViewSpec(
        "moved", "Moved", "What did fine-tuning change in the network, where, and what is it worth?", "moved"
    ),
    ViewSpec(
        "attribution", "Maps", "Which places speak for the answer, and do other methods say the same?", "attribution"
    ),
    ViewSpec("honest", "Honest card", "May this map be believed: what do controls and random weights show?", "honest"),
    ViewSpec("channels", "Channels", "Which channels of a stage answer to this image, and where?", "channels"),
    ViewSpec("units", "Units", "What does one channel answer to, over all images?", "units"),
    ViewSpec(
        "architecture", "Surgery", "What does a transfer keep of the network, cut off, and train?", "architecture"
    ),
    ViewSpec(
        "beginning", "Beginning", "What does a filter do, and what was there before networks learned them?", "beginning"
    ),
)  # fmt: skip


def find_view(name: str | None) -> ViewSpec:
    """The view of that name; the first one where there is none."""
    return next((view for view in VIEWS if view.name == name), VIEWS[0])
