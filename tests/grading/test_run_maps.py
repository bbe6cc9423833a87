"""Maps of a run's images: made once, kept by run, image and class, and none of a head without gradient."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.atomic import write_json
from lib.disk_cache import list_entries
from lib.errors import Stopped, UserError
from lib.explain.attribution import grad_cam
from lib.grading.grader import Grader
from lib.grading.run_maps import framed_picture, kept_map, make_maps, missing_maps, why_no_maps
from lib.tracking.state import BUNDLE_FOLDER, run_folder
from tests.grading.squares import FIRST_STAGE, make_pixels

IDS = [f"image{number}" for number in range(10)]


@pytest.fixture
def dataset():
    pixels = np.stack([make_pixels("red" if row % 2 else "blue", row) for row in range(10)])
    return SimpleNamespace(pixels=pixels, table=pd.DataFrame({"image_id": IDS}))


def test_maps_are_made_once_for_each_image_and_class(home, grader, dataset):
    assert missing_maps(grader.run, IDS[:3], [0, 1, 0]) == [0, 1, 2]
    assert kept_map(grader.run, IDS[1], 1) is None
    told = []
    assert make_maps(grader, dataset, [0, 1, 2], [0, 1, 0], progress=lambda *now: told.append(now[:2])) == 3
    assert told == [(3, 3)]
    assert missing_maps(grader.run, IDS[:3], [0, 1, 0]) == []
    assert missing_maps(grader.run, IDS[:3], [0, 0, 0]) == [1]  # of another class it is another map
    assert missing_maps("another", IDS[:1], [0]) == [0]
    assert make_maps(grader, dataset, [0, 1, 2], [0, 1, 0]) == 0
    assert {entry.kind for entry in list_entries()} == {"maps"}


def test_a_kept_map_is_grad_cam_of_that_class(home, grader, dataset):
    make_maps(grader, dataset, [3, 4], [0, 1])
    batch = grader.inputs.batch(dataset.pixels[[3, 4]])
    expected = grad_cam(grader.classifier, batch, stage=FIRST_STAGE, target=[0, 1]).maps
    assert expected.max() > 0
    for image_id, target, own in zip(IDS[3:5], (0, 1), expected, strict=True):
        np.testing.assert_allclose(kept_map(grader.run, image_id, target), own, atol=1e-6)


def test_what_was_made_before_a_stop_stays(home, grader, dataset):
    def stop(done, total, what):
        raise Stopped

    with pytest.raises(Stopped):
        make_maps(grader, dataset, list(range(10)), [0] * 10, progress=stop)
    assert missing_maps(grader.run, IDS, [0] * 10) == [8, 9]  # eight at once


def test_a_head_without_gradient_has_no_maps(home, trained, dataset):
    from lib.models.classifier import build_classifier
    from lib.models.stages import build_backbone

    _, manifest, _ = trained
    backbone = build_backbone("mobilenet_v3_small", weights="random", seed=0)
    neighbours = build_classifier(backbone, head="nearest_neighbors", num_classes=2, feature_stage=FIRST_STAGE)
    with pytest.raises(UserError, match="so there are no maps"):
        make_maps(Grader(neighbours, manifest, run="neighbours"), dataset, [0], [0])


def test_a_map_lies_on_what_the_network_was_given(home, trained):
    pixels = np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3)
    np.testing.assert_array_equal(framed_picture("unknown", pixels), pixels)
    inputs = {**trained[1]["preprocessing"], "store_side_px": 40, "crop_fraction": 0.8}
    write_json(run_folder("cropped") / BUNDLE_FOLDER / "manifest.json", {"preprocessing": inputs})
    np.testing.assert_array_equal(framed_picture("cropped", pixels), pixels[4:36, 4:36])


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"backbone": "mobilenet_v2", "head": "linear"}, ""),
        ({"backbone": "mobilenet_v2", "head": "nearest_neighbors"}, "its head passes no gradient to the image"),
        ({"backbone": "handcrafted", "head": "linear"}, "it has no network"),
        ({"backbone": "not at hand", "head": "not at hand"}, ""),  # the network alone can tell
    ],
)
def test_a_manifest_says_why_a_run_has_no_maps(home, network, said):
    assert why_no_maps("run") == "it has kept no network"
    write_json(run_folder("run") / BUNDLE_FOLDER / "manifest.json", {"network": network})
    assert why_no_maps("run") == said
