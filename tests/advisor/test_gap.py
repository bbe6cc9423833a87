from dataclasses import replace

import pytest

from lib.advisor.gap import PHOTOGRAPHS, RUNNING, DomainGap, StageGap, consequence, kept_gap, method_words, reading
from lib.advisor.guide import DIFFERENT_DISTANCE


def stage(number: int, distance: float | None) -> StageGap:
    anchors = {"photographs": 0.2, "eyes": 0.6, "noise": 0.8} if distance is not None else {}
    return StageGap(stage=f"block{number}", title=f"Block {number}", distance=distance, **anchors)


def make_gap(*distances: float | None, source: str = RUNNING, least: int = 50) -> DomainGap:
    return DomainGap(
        dataset="tiny", dataset_title="Tiny", dataset_version="v1", backbone="net", backbone_title="Net",
        pretrained_on="ImageNet", source=source,
        stages=tuple(stage(number, own) for number, own in enumerate(distances, start=1)),
        num_images=24, num_train=40, least_per_class=least, num_photographs=14, num_crops=42, num_eyes=32, num_noise=16,
    )  # fmt: skip


def test_a_stage_lies_between_its_anchors():
    assert stage(1, 0.2).place == pytest.approx(0.25)
    assert [stage(1, own).short for own in (0.1, 0.39, 0.41, 0.61, 0.81)] == [
        "as in {source}", "as in {source}", "partly other", "mostly other", "beyond noise",
    ]  # fmt: skip
    assert (stage(1, None).place, stage(1, None).short) == (None, "not measured")
    assert replace(stage(1, 0.5), noise=None).place is None


def test_stages_of_one_kind_are_read_together():
    assert reading(make_gap(0.21, 0.25, 0.5, 0.2, None, 0.2, 0.9)) == (
        "Stages 1, 2, 4 and 6 see what they saw in ImageNet; stage 3 sees partly other things than in ImageNet; stage "
        "7 is further from ImageNet than noise is."
    )
    assert reading(make_gap(0.7, 0.7, 0.7)) == "Stages 1 to 3 see mostly other things than in ImageNet."
    assert reading(make_gap(0.2, source=PHOTOGRAPHS)) == "Stage 1 sees what it sees in photographs."
    assert reading(make_gap(0.2, 0.2, None, source=PHOTOGRAPHS)) == (
        "Stages 1 and 2 see what they see in photographs; stage 3 not measured, since there the photographs differ "
        "from each other as much as noise does."
    )
    assert "not measured" in reading(make_gap(None, None))


def test_the_consequence_goes_by_the_advisors_own_threshold():
    near, far = DIFFERENT_DISTANCE - 0.01, DIFFERENT_DISTANCE
    assert "these images are similar" in consequence(make_gap(near, None, 9.0, near))
    assert "a linear classifier on frozen features" in consequence(make_gap(near))
    assert "an earlier stage" in consequence(make_gap(far))
    assert "fine-tuning the whole network" in consequence(make_gap(near, least=100))
    assert "fine-tuning every stage" in consequence(make_gap(far, least=100))
    assert "little but a linear classifier" in consequence(make_gap(far, least=9))
    assert "the advisor makes no use" in consequence(make_gap(far, source=PHOTOGRAPHS))
    assert "goes by how well" in consequence(make_gap(None))


def test_it_says_how_many_images_stand_behind_it():
    words = method_words(make_gap(0.3))
    for number in ("24 of 40", "14 photographs", "42 pieces", "32 generated eyes", "16 images of noise"):
        assert number in words
    assert "generated eyes" not in method_words(replace(make_gap(0.3), num_eyes=0))


def test_it_is_kept_as_json_and_by_what_it_depends_on():
    found = make_gap(0.3, None)
    assert DomainGap.from_dict(found.to_dict()) == found
    with pytest.raises(ValueError, match="format 0"):
        DomainGap.from_dict({**found.to_dict(), "format_version": 0})
    paths = {kept_gap(*asked) for asked in (("a", "bundled_vgg"), ("b", "bundled_vgg"), ("a", "bundled_vgg", 1))}
    assert len(paths) == 3
