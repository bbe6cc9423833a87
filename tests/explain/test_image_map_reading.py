import dataclasses

import numpy as np
import pytest

from lib.explain.class_separation import Separation
from lib.explain.image_map import TSNE, ImageMap, MapQuestion, StageMap
from lib.explain.image_map_reading import map_table, method_words, point_table, reading, stage_separations
from lib.features.stage_outputs import StagedSource
from lib.models.backbones import BACKBONES
from tests.features.tiny_dataset import TinyDataset

SOURCE = StagedSource.published(BACKBONES.get("bundled_vgg"), "random")


def apart(purity, *, error=0.01):
    return Separation(purity, purity - error, purity + error, 0.5, 10, 100)


def make_map(num_images=8, num_stages=2):
    """Images of two classes in turn; at the last stage each class is in a place of its own."""
    rows = np.arange(num_images)
    own = np.array([[other for other in rows if other % 2 == row % 2 and other != row][:2] for row in rows], np.int32)
    next_to = np.stack([(rows + 1) % num_images, (rows - 1) % num_images], axis=1).astype(np.int32)
    points = np.stack([rows % 2, rows], axis=1).astype(np.float32)
    stages = [StageMap(stage, points, next_to, 0.5) for stage in SOURCE.stages[: num_stages - 1]]
    return ImageMap(rows, (*stages, StageMap(SOURCE.stages[-1], points, own, 0.5)), num_stages)


def test_each_stage_has_its_separation_by_the_classes_of_today():
    dataset, found = TinyDataset(num_images=8), make_map()
    question, split = MapQuestion(dataset, SOURCE), np.full(8, "train", dtype=object)
    assert [one.purity for one in stage_separations(question, found, split)] == [0, 1]
    dataset.table["target"] = [0, 0, 1, 1, 0, 0, 1, 1]  # a relabelling
    assert [one.purity for one in stage_separations(question, found, split)] != [0, 1]
    split[:6] = "excluded"
    assert stage_separations(question, found, split)[0] is None  # two images of one class are left


def test_tables_of_stages_and_of_points():
    dataset, found = TinyDataset(num_images=8, names=("cat", "dog")), make_map()
    question, split = MapQuestion(dataset, SOURCE), np.full(8, "train", dtype=object)
    rows = map_table(found, stage_separations(question, found, split))
    assert [(row["stage"], row["purity"], row["word"]) for row in rows] == [
        (SOURCE.stages[0].name, 0.0, "mixed"), (SOURCE.stages[-1].name, 1.0, "apart"),
    ]  # fmt: skip
    assert map_table(found, [None, None])[0]["purity"] is None
    dataset.table["path"] = [f"{row}.png" for row in range(8)]
    table = point_table(question, found, split)
    last = SOURCE.stages[-1].name
    assert list(table.columns[:4]) == ["image_id", "path", "class", "split"]
    assert table["class"].tolist()[:2] == ["cat", "dog"]
    assert table[f"{last}_y"].tolist() == list(range(8))


def test_the_way_from_generic_to_specific_in_words():
    said = reading(make_map(), [apart(0.52), apart(0.95)])
    assert "52 % are of its own class" in said
    assert "95 % at" in said
    assert "mixed by chance it would be 50 %" in said
    assert "go from mixed to apart" in said
    assert "before the end" not in said
    three = make_map(num_stages=3)
    assert f"before the end, at {SOURCE.stages[1].title} (90 %)" in reading(three, [apart(0.6), apart(0.9), apart(0.7)])
    assert "before the end" not in reading(three, [apart(0.6), apart(0.71), apart(0.7)])  # within the intervals
    assert "takes two classes" in reading(make_map(), [None, None])


def test_one_stage_alone_is_read_too():
    found = make_map()
    one = dataclasses.replace(found, stages=found.stages[-1:])
    assert "80 % (79 % to 81 %) of an image's 10 nearest" in reading(one, [apart(0.8)])


@pytest.mark.parametrize("method", ["pca", TSNE])
def test_how_it_was_made_names_sample_and_groups(method):
    dataset = TinyDataset(num_images=30)
    plain = method_words(MapQuestion(dataset, SOURCE, method))
    assert plain.startswith("30 images. ")
    assert ("gaps between them mean nothing" in plain) == (method == TSNE)
    dataset.table["group_id"] = "p"
    assert "one group (patient)" in method_words(MapQuestion(dataset, SOURCE, method))
    dataset.num_images = 30
    assert "10 images, a sample of 30" in method_words(MapQuestion(dataset, SOURCE, method, max_points=10))
