import pytest
import torch

from lib.data.augmentation import flip_batch, flip_flags

IDS = [f"{number:016x}" for number in range(400)]


def test_flags_depend_on_seed_epoch_and_image_only():
    flags = flip_flags(IDS, seed=0, epoch=1)
    assert (flip_flags(IDS[::-1], seed=0, epoch=1)[::-1] == flags).all()
    assert (flip_flags(IDS[100:110], seed=0, epoch=1) == flags[100:110]).all()
    assert (flip_flags(IDS, seed=0, epoch=2) != flags).any()
    assert (flip_flags(IDS, seed=1, epoch=1) != flags).any()
    assert 0.4 < flags.mean() < 0.6


def test_flip_batch_mirrors_the_chosen_and_only_those():
    batch = torch.arange(8 * 3 * 2 * 4, dtype=torch.float32).view(8, 3, 2, 4)
    before = batch.clone()
    flipped = flip_batch(batch, seed=0, epoch=0, image_ids=IDS[:8])
    flags = flip_flags(IDS[:8], seed=0, epoch=0)
    assert flags.any()
    assert not flags.all()
    for image, is_flipped in enumerate(flags):
        assert torch.equal(flipped[image], batch[image].flip(-1) if is_flipped else batch[image])
    assert torch.equal(batch, before)


def test_layout_is_kept():
    batch = torch.rand(4, 3, 8, 8).to(memory_format=torch.channels_last)
    assert flip_batch(batch, seed=0, epoch=0, image_ids=IDS[:4]).is_contiguous(memory_format=torch.channels_last)


def test_ids_and_batch_must_agree():
    with pytest.raises(ValueError, match="3 image_ids for a batch of 2"):
        flip_batch(torch.zeros(2, 3, 4, 4), seed=0, epoch=0, image_ids=IDS[:3])
