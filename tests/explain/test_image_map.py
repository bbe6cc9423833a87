import dataclasses

import numpy as np
import pytest

from lib.errors import Stopped, UserError
from lib.explain import image_map
from lib.explain.image_map import (
    PCA,
    TSNE,
    UMAP,
    MapQuestion,
    aligned,
    map_sample,
    measure_map,
    principal_components,
)
from lib.features.stage_outputs import StagedSource, StageRequest
from lib.models.backbones import BACKBONES
from tests.features.tiny_dataset import TinyDataset

SPEC = dataclasses.replace(BACKBONES.get("bundled_vgg"), input_size_px=32)


@pytest.fixture(scope="module")
def source():
    found = StagedSource.published(SPEC, "random")
    stages = found.build()
    return dataclasses.replace(found, build=lambda: stages)


def question(source, dataset=None, **options):
    return MapQuestion(dataset or TinyDataset(num_images=24), source, **options)


def test_a_sample_has_of_each_class_its_share_and_one_at_least():
    targets = np.repeat([0, 1, 2], [600, 399, 1])
    rows = map_sample(targets, most=100)
    assert np.bincount(targets[rows]).tolist() == [59, 40, 1]
    assert rows.tolist() == sorted(set(rows.tolist())) == map_sample(targets, most=100).tolist()
    assert map_sample(targets, most=1000).tolist() == list(range(1000))


def test_components_hold_the_spread_and_steady_channels_say_nothing():
    random = np.random.default_rng(0)
    values = np.stack([random.normal(0, 5, 40), np.full(40, 1e6), random.normal(0, 0.001, 40)], axis=1)
    found = principal_components(values.astype(np.float32))
    assert found.shape == (40, 4)
    # Two standardised channels: every image's squared length is that of its components, and 2 on average.
    assert np.allclose((found[:, :3] ** 2).sum(1), found[:, 3], atol=1e-3)
    assert found[:, 3].mean() == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("shape", [(5, 3), (1, 4), (2, 1), (3, 1)])
def test_components_of_few_images_or_of_zeros_have_two_columns(shape):
    for values in (np.zeros(shape), np.random.default_rng(0).normal(size=shape)):
        found = principal_components(values.astype(np.float32))
        assert found.shape[1] >= 3
        assert np.isfinite(found).all()
    assert not principal_components(np.ones(shape, np.float32)).any()


def test_a_map_is_turned_and_mirrored_onto_another():
    points = np.random.default_rng(0).normal(size=(30, 2))
    turned = points @ np.array([[0.6, 0.8], [0.8, -0.6]]) * 7 + 3  # mirrored, larger and elsewhere
    onto = aligned(points)
    assert np.allclose(aligned(turned, onto), onto, atol=1e-5)
    assert (onto**2).sum(1).mean() == pytest.approx(1, abs=1e-5)
    assert not aligned(np.ones((4, 2)), onto[:4]).any()


def test_a_map_a_stage_kept_and_the_same_again(source, monkeypatch):
    asked, told = question(source), []
    first = measure_map(asked, progress=lambda *step: told.append(step))
    assert [one.stage.name for one in first.stages] == [stage.name for stage in source.stages]
    assert first.is_complete
    assert first.stages[0].points.shape == (24, 2)
    assert 0 < first.stages[0].spread <= 1
    assert told[-1] == (len(source.stages), len(source.stages), "stages mapped")
    # What the curve of what stages are worth has read is the same entry.
    assert StageRequest(asked.dataset, source).path == asked.request.path

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(image_map, "read_or_extract", refuse)
    again = measure_map(question(source))
    for one, other in zip(first.stages, again.stages, strict=True):
        assert np.array_equal(one.points, other.points)
        assert np.array_equal(one.neighbors, other.neighbors)


def test_tsne_is_seeded_and_begins_with_what_pca_has_kept(source):
    last = source.stages[-1].name
    measure_map(question(source))
    first = measure_map(question(source, method=TSNE, seed=0), stages=[last])
    assert [one.stage.name for one in first.stages] == [last]
    assert not first.is_complete
    asked = question(source, method=TSNE, seed=0)
    asked.points_path(last).unlink()
    assert np.array_equal(measure_map(asked, stages=[last]).stages[0].points, first.stages[0].points)
    assert first.of(last).spread is None
    assert asked.name != question(source, method=TSNE, seed=1).name


@pytest.mark.slow
def test_umap_is_seeded_and_places_alike_what_is_alike(source):
    dataset, last = TinyDataset(num_images=40), source.stages[-1].name
    asked = question(source, dataset, method=UMAP)
    first = measure_map(asked, stages=[last]).stages[0].points
    asked.points_path(last).unlink()
    assert np.array_equal(measure_map(asked, stages=[last]).stages[0].points, first)
    assert np.isfinite(first).all()


def test_a_stage_that_answers_the_same_to_every_image_is_one_place(source):
    dataset = TinyDataset(num_images=12)
    dataset.pixels[:] = 90
    for method in (PCA, TSNE):
        found = measure_map(question(source, dataset, method=method))
        assert all(one.is_flat for one in found.stages)
        assert all(one.spread is None for one in found.stages)


@pytest.mark.parametrize("num_images", [2, 3])
def test_two_or_three_images_have_a_map_by_pca_alone(source, num_images):
    dataset = TinyDataset(num_images=num_images)
    found = measure_map(question(source, dataset))
    assert found.is_complete
    assert found.stages[0].neighbors.shape == (num_images, num_images - 1)
    for method in (TSNE, UMAP):
        with pytest.raises(
            UserError, match=rf"at least 5 of them; the data set has {num_images}. Choose the method pca"
        ):
            measure_map(question(source, dataset, method=method))


def test_of_too_many_images_a_sample_is_read(source):
    dataset = TinyDataset(num_images=60)
    asked = question(source, dataset, max_points=20)
    found = measure_map(asked)
    assert len(found.rows) == len(found.stages[0].points) == 20
    assert asked.request.path != question(source, dataset).request.path
    assert np.bincount(dataset.table["target"].to_numpy()[found.rows]).tolist() == [10, 10]


def test_patients_have_neighbours_of_their_own_and_labels_none(source):
    plain, grouped = question(source), question(source, TinyDataset(num_images=24))
    grouped.dataset.table["group_id"] = [f"p{row // 2}" for row in range(24)]
    last = source.stages[-1].name
    assert plain.neighbors_path(last) != grouped.neighbors_path(last)
    assert plain.components_path(last) == grouped.components_path(last)
    found = measure_map(grouped, stages=[last]).stages[0].neighbors
    assert not (found // 2 == np.arange(24)[:, None] // 2).any()
    relabelled = question(source, TinyDataset(num_images=24))
    relabelled.dataset.table["target"] = 0
    assert relabelled.neighbors_path(last) == plain.neighbors_path(last)


def test_what_was_ready_before_a_stop_stays(source):
    asked, times = question(source), []

    def should_stop():
        return any(asked.is_ready(stage.name) for stage in source.stages) or times.append(1) or False

    with pytest.raises(Stopped):
        measure_map(asked, should_stop=should_stop)
    assert [one.stage.name for one in asked.read().stages] == [source.stages[-1].name]


def test_unknown_names_are_one_sentence(source):
    with pytest.raises(UserError, match="no method 'mds'; choose one of: pca, tsne, umap"):
        question(source, method="mds")
    with pytest.raises(UserError, match="has no stage 'tail'"):
        measure_map(question(source), stages=["tail"])
