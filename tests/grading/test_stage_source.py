from types import SimpleNamespace

import pytest

from lib.data.specs import DatasetSpec
from lib.errors import UserError
from lib.grading.stage_source import as_taken_part, run_network
from tests.features.tiny_dataset import TinyDataset


def test_a_run_is_read_by_its_own_stages_and_as_it_reads_images(grader):
    found = run_network(grader)
    assert (found.run_id, found.label) == (grader.run, "Linear probe, 01234567")
    assert found.source.inputs is grader.inputs
    assert [stage.name for stage in found.source.stages] == ["stem"]  # where its head reads
    assert found.source.build() is grader.classifier.stages


def test_other_weights_are_another_source(grader, monkeypatch):
    digest = run_network(grader).source.digest
    monkeypatch.setitem(grader.manifest, "network_sha256", "other")
    assert run_network(grader).source.digest != digest


def test_hand_made_measures_have_no_stages():
    classifier = SimpleNamespace(spec=SimpleNamespace(num_parameters=0))
    with pytest.raises(UserError, match="This run uses no network: its features are hand-made measures"):
        run_network(SimpleNamespace(classifier=classifier))


def grader_of(**config):
    return SimpleNamespace(manifest={"dataset": {"version": "v1"}, "config": config})


class Versioned(TinyDataset):
    versions = ("v2", "v1")

    def at_version(self, version):
        return TinyDataset(num_images=self.num_images, num_classes=self.num_classes, version=version)


def test_the_data_set_of_a_run_is_taken_as_its_training_took_it():
    dataset = Versioned(num_images=60, num_classes=3, version="v2")
    taken, seed, merged = as_taken_part(dataset, grader_of(split_seed=4, target_map="0,1,1", max_per_class=10))
    assert (taken.version, seed, merged) == ("v1", 4, "0,1,1")
    assert (len(taken.table), taken.spec.num_classes) == (30, 2)
    asked, seed, merged = as_taken_part(dataset, grader_of(split_seed=4), split_seed=0, target_map="0,0,1")
    assert (seed, merged, asked.spec.num_classes) == (0, "0,0,1", 2)


def test_any_other_data_set_is_taken_whole():
    dataset = TinyDataset(num_images=60, version="other")
    taken, seed, merged = as_taken_part(dataset, grader_of(split_seed=4, max_per_class=10))
    assert (taken, seed, merged) == (dataset, 0, "")
    assert isinstance(as_taken_part(dataset, None)[0].spec, DatasetSpec)
