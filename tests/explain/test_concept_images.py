import numpy as np
import pytest
from PIL import Image

from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.explain.concept_images import LESIONS, TEXTURES, concept_source, mask_values, texture_crops
from tests.moved_run import PREPROCESSING, KeptDataset

INPUTS = InputTransform.of(PREPROCESSING)


class MaskedDataset(KeptDataset):
    """Every second image has a "Spot" (1), four images have a "Scar" (2); all others have no mask."""

    has_masks = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.spec = type(self.spec)(**{**vars(self.spec), "mask_names": ("Spot", "Scar")})

    def mask(self, row: int) -> np.ndarray | None:
        if row % 2:
            return None
        mask = np.zeros((32, 32), np.uint8)
        mask[3, 4] = 1
        mask[9, 9] = 2 if row < 8 else 1
        return mask


def write(folder, num: int, *, broken: int = 0):
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(num):
        Image.fromarray(random.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    for number in range(broken):
        (folder / f"broken{number}.png").write_text("no image")
    return folder


def test_masks_tell_images_with_a_lesion_from_those_without() -> None:
    dataset = MaskedDataset(num_images=60)
    found = concept_source(LESIONS, dataset, INPUTS)
    (spot,) = found.concepts
    assert spot.name == "Spot"
    assert spot.counterpart == "images without it"
    assert len(spot.shown) == len(spot.others) == 30
    rows = [next(row for row in range(60) if np.array_equal(dataset.pixels[row], square)) for square in found.pool]
    assert all(rows[number] % 2 == 0 for number in spot.shown)
    assert all(rows[number] % 2 == 1 for number in spot.others)
    assert len(found.randoms) == 60
    assert found.notes == ("Scar: only 4 images with it, and a concept needs 10.",)


def test_a_data_set_without_masks_or_with_too_few_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"The data set 'tiny' has no masks of lesions; give folders"):
        concept_source(LESIONS, KeptDataset(num_images=30), INPUTS)
    with pytest.raises(UserError, match=r"No concept can be tested\. Spot: only 6 images with it"):
        concept_source(LESIONS, MaskedDataset(num_images=12), INPUTS)
    assert mask_values(None) == set()


def test_textures_come_with_the_program_and_are_drawn_the_same_way_each_time() -> None:
    crops = texture_crops(32, seed=3)
    assert list(crops) == ["brick", "grass", "gravel"]
    assert all(piece.shape == (32, 32, 3) for pieces in crops.values() for piece in pieces)
    again = texture_crops(32, seed=3)
    assert all(np.array_equal(*pair) for pair in zip(crops["gravel"], again["gravel"], strict=True))
    assert not np.array_equal(crops["brick"][0], texture_crops(32, seed=4)["brick"][0])
    found = concept_source(TEXTURES, KeptDataset(num_images=30), INPUTS)
    assert {(len(one.shown), len(one.others)) for one in found.concepts} == {(24, 30)}
    assert set(found.concepts[0].shown).isdisjoint(found.concepts[1].shown)


def test_folders_are_concepts_and_files_that_cannot_be_read_do_not_count(tmp_path) -> None:
    root = tmp_path / "concepts"
    write(root / "moss", 12, broken=3)
    write(root / "rust", 4, broken=9)
    (root / ".hidden").mkdir()
    found = concept_source(str(root), KeptDataset(num_images=30), INPUTS)
    assert [one.name for one in found.concepts] == ["moss"]
    assert len(found.concepts[0].shown) == 12
    assert found.notes == ("The concept 'rust' has 4 images that can be read; it needs 10.",)
    alone = concept_source(str(root / "moss"), KeptDataset(num_images=30), INPUTS)  # a folder of images is one concept
    assert [one.name for one in alone.concepts] == ["moss"]


def test_a_folder_with_too_few_images_and_no_folder_are_one_sentence(tmp_path) -> None:
    with pytest.raises(UserError, match=r"^The concept 'few' has 9 images that can be read; it needs 10\.$"):
        concept_source(str(write(tmp_path / "few", 9)), KeptDataset(num_images=30), INPUTS)
    with pytest.raises(UserError, match="There is no folder"):
        concept_source(str(tmp_path / "none"), KeptDataset(num_images=30), INPUTS)
