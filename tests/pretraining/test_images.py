"""Generated images: deterministic, varied and told apart by class; their store: as drawn one by one, resumable."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from lib.errors import UserError
from lib.pretraining.images import DONE_FOLDER, FAMILIES, StoreSpec, class_table, draw_image, render_store

SPEC = StoreSpec(per_class=4, side_px=24, class_share=0.02)


def test_there_are_at_least_two_hundred_classes() -> None:
    assert len(class_table()) == sum(FAMILIES.get(name).num_classes for name in FAMILIES.names) >= 200


def test_a_share_keeps_every_family() -> None:
    assert {family for family, _ in class_table(0.05)} == set(FAMILIES.names)


@pytest.mark.parametrize("family", FAMILIES.names)
def test_an_image_depends_on_its_arguments_alone(family: str) -> None:
    image = draw_image(family, 1, 0, side=48)
    assert image.shape == (48, 48, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, draw_image(family, 1, 0, side=48))
    assert not np.array_equal(image, draw_image(family, 1, 1, side=48))
    assert not np.array_equal(image, draw_image(family, 1, 0, side=48, seed=1))


@pytest.mark.parametrize("family", FAMILIES.names)
def test_no_class_is_blank(family: str) -> None:
    spread = [draw_image(family, number, 3, side=48).std() for number in range(6)]
    assert np.median(spread) > 8


@pytest.mark.slow
def test_rows_are_the_classes_images_in_order(tmp_path: Path) -> None:
    store = render_store(tmp_path, SPEC, num_processes=1)
    assert store.pixels.shape == SPEC.shape
    assert store.targets.tolist()[:5] == [0] * 4 + [1]
    family, number = SPEC.classes[3]
    np.testing.assert_array_equal(store.pixels[3 * 4 + 2], draw_image(family, number, 2, side=24))


@pytest.mark.slow
def test_only_what_is_missing_is_rendered_again(tmp_path: Path) -> None:
    render_store(tmp_path, SPEC, num_processes=1)
    (tmp_path / DONE_FOLDER / "2").unlink()
    heard = []
    render_store(tmp_path, SPEC, num_processes=1, progress=lambda done, total, _: heard.append((done, total)))
    assert heard == [(len(SPEC.classes), len(SPEC.classes))]


@pytest.mark.slow
def test_several_processes_render_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A spawned process runs the main module again: not that of a test run, which may be anything by now.
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    one = render_store(tmp_path / "one", SPEC, num_processes=1)
    two = render_store(tmp_path / "two", SPEC, num_processes=2)
    np.testing.assert_array_equal(one.pixels, two.pixels)


@pytest.mark.slow
def test_another_description_is_refused(tmp_path: Path) -> None:
    render_store(tmp_path, SPEC, num_processes=1)
    with pytest.raises(UserError, match="another description"):
        render_store(tmp_path, StoreSpec(per_class=5, side_px=24, class_share=0.02))
