import json

import pytest

from lib.data.specs import DatasetSpec
from lib.errors import UserError


def test_spec_survives_json():
    spec = DatasetSpec(name="eyes", title="Eyes", class_names=("no", "mild"), is_ordinal=True, crop_policy="retina_box")
    assert DatasetSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.num_classes == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 9}, "newer than 1"),
        ({"colour": "red"}, "colour"),
        ({"class_names": None}, "cannot be read"),
        ({"crop_policy": "round"}, "Unknown crop policy 'round'"),
    ],
)
def test_from_dict_refuses_what_it_does_not_know(changes: dict, message: str):
    content = DatasetSpec(name="a", title="A", class_names=("x", "y")).to_dict() | changes
    with pytest.raises(UserError, match=message):
        DatasetSpec.from_dict(content)
