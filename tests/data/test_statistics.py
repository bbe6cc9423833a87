from pathlib import Path

import pytest
from PIL import Image

from lib.data.dataset import Dataset
from lib.data.library import import_folder
from lib.data.statistics import channel_means, class_counts, size_table


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (64 + number, 64), colour).save(tmp_path / "set" / name / f"{number}.png")
    return import_folder(tmp_path / "set")


def test_class_counts_by_split(dataset: Dataset):
    counts = class_counts(dataset, dataset.split(0))
    assert counts["count"].tolist() == [3, 1, 1, 3, 1, 1]
    assert counts["split"].tolist() == ["train", "val", "test"] * 2
    assert counts["class_name"].tolist() == ["blue"] * 3 + ["red"] * 3


def test_size_table_holds_the_originals(dataset: Dataset):
    sizes = size_table(dataset)
    assert sizes["width"].tolist() == [64, 65, 66, 67, 68] * 2
    assert set(sizes["height"]) == {64}
    assert sizes["class_name"].tolist() == ["blue"] * 5 + ["red"] * 5


def test_channel_means_of_plain_colours(dataset: Dataset):
    means = channel_means(dataset)
    assert means["mean"].tolist() == pytest.approx([0, 0, 1, 1, 0, 0])
    assert means["std"].tolist() == pytest.approx([0] * 6, abs=1e-3)
    assert means["channel"].tolist() == ["red", "green", "blue"] * 2
