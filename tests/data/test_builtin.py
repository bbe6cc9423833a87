import pytest

from lib.data import builtin
from lib.data.library import list_datasets
from lib.errors import UserError


@pytest.mark.slow
def test_default_data_set_is_generated_once():
    dataset = builtin.make_synthetic_fundus(per_class=5, size_px=64)
    assert dataset.spec.mask_names[0] == "Microaneurysm"
    assert dataset.has_masks
    assert (dataset.name, dataset.num_images, dataset.spec.num_classes) == ("synthetic-fundus", 25, 5)
    assert dataset.spec.is_ordinal
    assert dataset.spec.is_medical
    assert dataset.spec.crop_policy == "retina_box"
    splits = dataset.split(0)
    for group in set(dataset.table["group_id"]):
        assert len(set(splits[dataset.table["group_id"] == group])) == 1
    assert builtin.ensure_default_dataset().description["created_s"] == dataset.description["created_s"]
    again = builtin.make_synthetic_fundus(per_class=5, size_px=64)
    assert again.description["created_s"] == dataset.description["created_s"]


@pytest.mark.slow
def test_other_arguments_replace_the_default_data_set():
    first = builtin.make_synthetic_fundus(per_class=5, size_px=64)
    assert builtin.make_synthetic_fundus(per_class=5, size_px=64, seed=1).version != first.version
    assert [item.name for item in list_datasets()] == ["synthetic-fundus"]
    with pytest.raises(UserError, match="5 to 100000"):
        builtin.make_synthetic_fundus(per_class=2)
