import json

import pytest

from lib.advisor import gap_measurement
from lib.advisor.gap import consequence, reading
from lib.data.importing import import_folder
from tests.advisor.test_gap import make_gap


@pytest.fixture
def asked(images, monkeypatch):
    """What was to be measured; the answer is invented."""
    import_folder(images, name="two")
    names = []

    def measure(dataset, backbone, **options):
        names.append((dataset.name, backbone, options["split_seed"]))
        options["progress"](1, 2, "reading images")
        return make_gap(0.3, None, 0.9)

    monkeypatch.setattr(gap_measurement, "measure_gap", measure)
    return names


def test_one_network_stage_by_stage(asked, command):
    answer = command("datasets", "gap", "two", "--backbone", "bundled_vgg", "--split-seed", 3)
    assert answer.status == 0, answer.err
    assert asked == [("two", "bundled_vgg", 3)]
    lines = answer.out.splitlines()
    assert " ".join(lines[1].split()).startswith("1 Block 1 block1 0.300")
    assert "not measured" in lines[2]
    assert reading(make_gap(0.3, None, 0.9)) in answer.out
    assert consequence(make_gap(0.3, None, 0.9)) in answer.out


def test_all_networks_the_default_first_and_why_others_are_missing(asked, command):
    answer = command("datasets", "gap", "two", "--backbone", "all", "--json")
    assert answer.status == 0, answer.err
    content = json.loads(answer.out.splitlines()[-1])
    assert [name for _, name, _ in asked] == list(content["networks"])
    assert content["not_measured"]["resnet18"] == "weights not here"
    assert content["networks"]["bundled_vgg"]["distance"] == pytest.approx(0.6)
    plain = command("datasets", "gap", "two", "--backbone", "all")
    assert "python -m lib weights download resnet18" in plain.err
    # The default one goes first wherever its weights are.
    assert asked[0][1] in ("efficientnet_lite0", "bundled_vgg")


@pytest.mark.parametrize("backbone", ["resnet18", "no_such"])
def test_a_network_that_cannot_be_asked_is_one_line(asked, command, backbone):
    answer = command("datasets", "gap", "two", "--backbone", backbone)
    assert answer.status == 2
    assert backbone in answer.err
    assert not asked
