"""The pages in the order of the navigation."""

from dataclasses import dataclass
from pathlib import Path

PAGES_FOLDER = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class PageSpec:
    """One page of the navigation; its file is `pages/<name>.py` and its URL `/<name>`."""

    name: str
    title: str
    icon: str

    @property
    def file(self) -> Path:
        """The script."""
        return PAGES_FOLDER / f"{self.name}.py"


PAGES = (
    PageSpec("start", "Start", ":material/home:"),
    PageSpec("explore_data", "Explore data", ":material/grid_view:"),
    PageSpec("look_inside", "Look inside", ":material/layers:"),
    PageSpec("train_model", "Train model", ":material/model_training:"),
    PageSpec("compare_runs", "Compare runs", ":material/leaderboard:"),
    PageSpec("grade_images", "Grade images", ":material/fact_check:"),
)
