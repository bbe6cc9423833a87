"""From rendered images to a weights file in two stages, on a small share of the classes."""

from pathlib import Path

from lib.models.bundled_weights import read_bundled_metadata, read_bundled_weights
from lib.pretraining.families import FAMILIES, NUM_FAMILIES_OF_FORM
from lib.pretraining.production import produce, stages


def test_the_stages_share_the_steps_and_the_first_sees_form_alone() -> None:
    first, second = stages(100)
    assert first.num_steps + second.num_steps == 100
    assert (first.num_families, second.num_families) == (NUM_FAMILIES_OF_FORM, None)
    assert FAMILIES.names[NUM_FAMILIES_OF_FORM] == "insects"
    assert second.colour.mixing < first.colour.mixing


def test_a_weights_file_comes_out_and_a_second_call_trains_nothing_again(tmp_path: Path) -> None:
    made = produce(tmp_path, per_class=8, steps=4, class_share=0.02, dtype="float32", num_processes=1)
    metadata = read_bundled_metadata(Path(made["file"]))
    assert len(metadata.classes) == made["num_classes"] == 2 * len(FAMILIES.names)
    assert len(metadata.pretraining["stages"]) == 2
    again = produce(tmp_path, per_class=8, steps=4, class_share=0.02, dtype="float32", num_processes=1)
    first, second = (read_bundled_weights(Path(path)) for path in (made["file"], again["file"]))
    assert all((first[key] == second[key]).all() for key in first)
