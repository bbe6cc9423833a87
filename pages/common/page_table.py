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
    summary: str

    @property
    def file(self) -> Path:
        """The script."""
        return PAGES_FOLDER / f"{self.name}.py"


PAGES = (
    PageSpec("start", "Start", ":material/home:", "What this is, and three ways in."),
    PageSpec("explore_data", "Explore data", ":material/grid_view:", "What is in the data set; import your own."),
    PageSpec("look_inside", "Look inside", ":material/layers:", "What a network sees, stage by stage."),
    PageSpec("train_model", "Train model", ":material/model_training:", "Train by a strategy and watch it live."),
    PageSpec("compare_runs", "Compare runs", ":material/leaderboard:", "Which training was better, and how sure."),
    PageSpec("grade_images", "Grade images", ":material/fact_check:", "Use a trained network on new images."),
)
