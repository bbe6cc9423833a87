import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from lib.data.fundus.photograph import FundusCase, draw_example, draw_photograph
from lib.data.grades import LesionKind

SIZE_PX = 160


def _case(grade: int, patient: int = 1) -> FundusCase:
    return FundusCase(seed=0, patient=patient, is_right=bool(patient % 2), grade=grade)


def test_a_photograph_is_a_bright_disc_on_black():
    photograph = draw_photograph(_case(0, patient=3), size_px=SIZE_PX)
    height, width = photograph.mask.shape
    assert photograph.pixels.shape == (height, width, 3)
    assert photograph.pixels.dtype == photograph.mask.dtype == np.uint8
    assert photograph.pixels[:3, :3].max() < 12
    middle = photograph.pixels[height // 3 : -height // 3, width // 3 : -width // 3].reshape(-1, 3).mean(axis=0)
    assert middle[0] > middle[1] > middle[2]


def test_the_same_case_gives_the_same_pixels_and_another_does_not():
    first, again = (draw_photograph(_case(3), size_px=SIZE_PX) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.mask, again.mask)
    other = draw_photograph(FundusCase(1, 1, True, 3), size_px=SIZE_PX)
    assert other.pixels.shape != first.pixels.shape or not np.array_equal(other.pixels, first.pixels)


@pytest.mark.parametrize("grade", [1, 2, 3, 4])
def test_the_twin_differs_in_the_lesions_only(grade: int):
    for patient in (1, 4):
        case = _case(grade, patient)
        photograph = draw_photograph(case, size_px=SIZE_PX)
        twin = draw_photograph(case, size_px=SIZE_PX, with_lesions=False)
        assert not twin.mask.any()
        assert twin.lesions == ()
        differs = (photograph.pixels != twin.pixels).any(axis=2)
        assert differs.any()
        # Blur and sharpening, 3 sigma of at most 2.3 and 2.0 px at 512 px, carry a lesion over its edge, and the
        # palest fringe of a cotton-wool spot lies outside it: 4 px and 3 px here.
        near = binary_dilation(photograph.mask > 0, np.ones((3, 3)), iterations=7)
        assert not (differs & ~near).any()


@pytest.mark.parametrize("grade", range(5))
def test_the_mask_holds_the_kinds_that_were_drawn(grade: int):
    photograph = draw_photograph(_case(grade), size_px=256)
    drawn = {int(lesion.kind) for lesion in photograph.lesions}
    assert photograph.grade == grade
    assert set(np.unique(photograph.mask).tolist()) - {0} <= drawn
    if grade == 1:
        assert drawn == {LesionKind.MICROANEURYSM}
        assert (photograph.mask == LesionKind.MICROANEURYSM).sum() >= 3 * len(photograph.lesions)


def test_microaneurysms_are_three_pixels_wide_at_512():
    photograph = draw_photograph(_case(1, patient=8), size_px=512)
    for lesion in photograph.lesions:
        assert 2 * lesion.radius * 256 >= 3


def test_examples_of_every_grade_and_an_ungradable_one():
    assert [draw_example(grade, size_px=96).grade for grade in range(5)] == [0, 1, 2, 3, 4]
    assert draw_example(2, size_px=96).ungradable == ""
    assert draw_example(2, size_px=96, is_ungradable=True).ungradable
    with pytest.raises(ValueError, match="0 to 4, not 5"):
        draw_example(5)
