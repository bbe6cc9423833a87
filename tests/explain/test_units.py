"""The index of what channels look for, on images with red spots at known places."""

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lib.errors import Stopped, UserError
from lib.explain import units
from lib.explain.units import UnitRequest, build_index, cut_patch, describe_unit, network_digest, unit_sheet
from lib.models.classifier import build_classifier
from lib.models.stages import build_backbone
from lib.progress import ignore_progress
from tests.explain.planted import (
    BLUE,
    DEAD,
    INPUTS,
    RED,
    SIDE,
    SPOTS,
    Failing,
    PlantedImages,
    PlantedNetwork,
    planted_images,
    state_of,
)

IMAGES = planted_images()


def request(network: nn.Module | None = None, stage: str = "spots", **options: object) -> UnitRequest:
    return UnitRequest(IMAGES, network or PlantedNetwork(), stage, INPUTS, **options)  # type: ignore[arg-type]


def test_the_top_patches_are_the_planted_spots_at_their_places() -> None:
    index = build_index(request())
    patches = index.patches(RED)
    assert [patch.row for patch in patches] == [3, 7, 10, 12]  # by how red they are
    assert [patch.place for patch in patches] == [place for place, _ in SPOTS.values()]
    # A whole 3 x 3 window inside the spot: its red, of 1.
    assert [patch.activation for patch in patches] == pytest.approx([255 / 255, 225 / 255, 195 / 255, 165 / 255])
    assert [patch.class_name for patch in patches] == ["spotted"] * 4
    assert patches[0].image_id == "image03"
    # Each place sees 6 pixels from -1 + 4 i on: kernel 3 at padding 1, then 4 at stride 4.
    assert patches[0].seen == (7 / 32, 19 / 32, 13 / 32, 25 / 32)
    assert patches[2].seen == (0, 0, 5 / 32, 5 / 32)
    assert patches[2].window == (0, 0, 6 / 32, 6 / 32)  # moved inside the image
    assert (
        describe_unit(index, RED)["classes"] == "4 of these 4 images are labelled spotted, as 25% of the data set are."
    )


def test_a_crop_shows_what_the_place_sees() -> None:
    index = build_index(request())
    first, _, corner, _ = index.patches(RED)
    crop = units.patch_picture(index.request, first, 6)
    assert crop.shape == (6, 6, 3)
    assert (crop[1:5, 1:5] == (255, 0, 0)).all()
    assert (crop[0, :, 0] < 61).all()
    crop = units.patch_picture(index.request, corner, 6)
    assert (crop[:4, :4] == (195, 0, 0)).all()
    # 5 of 6 pixels are seen; the rest, of 40 to 60, is three fifths on its way to 127.
    assert (crop[4, :5] < 61).all()
    assert ((crop[5] > 91) & (crop[:, 5] > 91)).all()
    assert units.patch_picture(index.request, first, 60)[10:50, 10:50].tolist() == [[[255, 0, 0]] * 40] * 40


def test_a_small_place_is_edged_and_a_field_beyond_the_image_shows_all_of_it() -> None:
    patch = dataclasses.replace(
        build_index(request()).patches(RED)[0], seen=(0, 0, 1, 1), window=(0, 0, 1, 1), cell=(0.25, 0.5, 0.375, 0.625)
    )
    crop = cut_patch(np.full((32, 32, 3), 50, dtype=np.uint8), patch, 32)
    assert crop.shape == (32, 32, 3)
    assert (crop[7, 16:20] == 255).all()  # rows 8 to 12, columns 16 to 20 are inside the edge
    assert (crop[8:12, 16:20] == 50).all()
    assert (crop[8:12, 15] == 255).all()
    assert (crop[6, 16] == 0).all()


def test_a_channel_that_never_answers_says_so() -> None:
    index = build_index(request())
    assert index.patches(DEAD) == ()
    assert describe_unit(index, DEAD)["classes"] == "This channel answers to none of these images."
    with pytest.raises(UserError, match="answers to none of these images"):
        unit_sheet(index, DEAD)
    with pytest.raises(UserError, match="The stage 'spots' has no channel 3: choose 0 to 2"):
        index.patches(3)
    assert index.most_active(1) == [RED]


def test_only_so_many_are_kept_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_index(request(num_patches=2)).entries
    assert whole.shape == (3, 2, 7)
    assert whole[RED, :, 2].tolist() == [3, 7]
    # Blue is silent everywhere: of equal ones the first images stay.
    assert whole[BLUE, :, 2].tolist() == [0, 1]
    monkeypatch.setattr(units, "_BATCH", 3)
    assert (units._largest(request(num_patches=2), ignore_progress) == whole).all()


class Capped(nn.Module):
    """Ends at a tenth, as ReLU6 ends at 6."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(0, 0.1)


def test_of_equal_activations_the_image_with_more_of_it_comes_first() -> None:
    pixels = IMAGES.pixels.copy()
    pixels[12, 8:24, 8:24] = (165, 0, 0)  # more of the red that is at the end for all
    images = dataclasses.replace(IMAGES, pixels=pixels, version="more")
    patches = build_index(UnitRequest(images, PlantedNetwork(kind=Capped), "spots", INPUTS)).patches(RED)
    assert patches[0].row == 12
    assert [patch.activation for patch in patches] == pytest.approx([0.1] * 4)
    assert 2 < patches[0].place[0] < 5  # within the patch of 4 x 4 places from the third on, not at its corner
    assert 2 < patches[0].place[1] < 5


def test_an_index_is_kept_under_all_that_it_depends_on() -> None:
    network = PlantedNetwork()
    first = request(network)
    assert first.read() is None
    made = build_index(first).entries
    again = request(network).read()
    assert again is not None
    assert (again.entries == made).all()
    with torch.no_grad():
        network.stages["logits"][2].weight.add_(1)  # behind the stage: the same index
    assert request(network).key == first.key
    with torch.no_grad():
        network.stages["colours"][0].weight.mul_(1.01)
    others = {
        request(network).key,
        request(PlantedNetwork(), "colours").key,
        request(PlantedNetwork(kind=Capped)).key,
        dataclasses.replace(first, num_patches=3).key,
        dataclasses.replace(first, inputs=dataclasses.replace(INPUTS, size_px=16)).key,
        dataclasses.replace(first, dataset=dataclasses.replace(IMAGES, version="two")).key,
    }
    assert len(others | {first.key}) == 7


def test_a_damaged_index_is_made_again() -> None:
    first = request()
    made = build_index(first).entries
    content = bytearray(first.path.read_bytes())
    content[200] ^= 1
    first.path.write_bytes(bytes(content))
    assert first.read() is None
    first.path.write_bytes(b"")
    assert first.read() is None
    assert (build_index(request()).entries == made).all()


def test_stop_leaves_nothing_and_progress_counts_images() -> None:
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int, what: str) -> None:
        told.append((done, total))
        if done:
            raise Stopped

    with pytest.raises(Stopped):
        build_index(request(), stop)
    assert told == [(0, 16), (16, 16)]
    assert request().read() is None


def test_no_images_and_stages_without_places() -> None:
    nothing = PlantedImages(IMAGES.pixels[:0], IMAGES.table[:0])
    with pytest.raises(UserError, match="has no images"):
        build_index(UnitRequest(nothing, PlantedNetwork(), "spots", INPUTS))
    with pytest.raises(UserError, match="'logits' has no map"):
        build_index(request(stage="logits"))
    with pytest.raises(UserError, match="is not a stage of this network"):
        build_index(request(stage="conv9"))


@pytest.mark.parametrize("is_training", [False, True])
def test_the_network_stays_as_it_is_also_after_a_failure(*, is_training: bool) -> None:
    network = Failing().train(is_training).requires_grad_(False)
    before = state_of(network)
    with pytest.raises(RuntimeError):
        build_index(request(network))
    build_index(request(network, "colours"))
    assert state_of(network) == before


def test_eight_threads_on_one_network_give_the_serial_answer() -> None:
    network = PlantedNetwork()
    serial = units._largest(request(network), ignore_progress)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: units._largest(request(network), ignore_progress), range(8)))
    assert all((one == serial).all() for one in found)


def test_tokens_lie_in_their_places() -> None:
    network = build_backbone("timm:test_vit", weights="random")
    images = dataclasses.replace(IMAGES, pixels=IMAGES.pixels[:4])
    index = build_index(UnitRequest(images, network, network.spec.stage_names[0], network.spec))
    patch = index.patches(0)[0]
    assert patch.seen == patch.window == (0, 0, 1, 1)
    assert patch.cell[2] - patch.cell[0] == pytest.approx(0.1)
    assert index.request.field.is_whole


def test_a_classifiers_head_does_not_count_and_its_stages_do() -> None:
    backbone = build_backbone("bundled_vgg", weights="random", feature_only=True)
    digests = [
        network_digest(build_classifier(backbone, head="linear", num_classes=2, seed=seed), "block2") for seed in (0, 1)
    ]
    assert digests[0] == digests[1]
    other = build_backbone("bundled_vgg", weights="random", seed=1, feature_only=True)
    assert network_digest(build_classifier(other, head="linear", num_classes=2), "block2") != digests[0]


def test_the_sheet_is_a_picture_of_all_patches() -> None:
    sheet = Image.open(io.BytesIO(unit_sheet(build_index(request()), RED)))
    assert sheet.format == "PNG"
    assert sheet.width > 4 * 224
    assert SIDE == 32
