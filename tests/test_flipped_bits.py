"""Damaged blocks of real caches and stores: features, preprocessed images, pixels, masks; alone and in company."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.atomic import read_json, write_json
from lib.checked_rows import CheckedRows
from lib.data.augmentation import AS_IT_IS
from lib.data.dataset import DESCRIPTION_FILE, MASKS_FILE, PIXELS_FILE, TABLE_FILE
from lib.data.enhancement import enhanced_images, fit_chain, named_images
from lib.data.importing import import_folder
from lib.data.library import open_dataset
from lib.disk_cache import read_entry
from lib.errors import UserError
from lib.features.cache import Shard, combine, fill_shard, read_or_extract
from lib.features.extraction import UNPOOLED, Extraction, FeatureRequest
from lib.settings import PROJECT_ROOT
from lib.training.network import untrained_classifier
from tests.data.folders import picture, write_classes
from tests.features.tiny_dataset import TinyDataset
from tests.training.test_resume import Killed, dense, killed_after, weights_of
from tests.training.test_session import make_session

pytestmark = pytest.mark.usefixtures("quick_network")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def request_for(pooling: str, dataset=None) -> FeatureRequest:
    dataset = dataset or TinyDataset(num_images=70)
    return FeatureRequest(dataset, "mobilenet_v3_small", "random", 0, "block2", pooling, 32, "float32", AS_IT_IS, "cpu")


@pytest.mark.parametrize("pooling", ["average", UNPOOLED])
def test_only_the_damaged_block_of_features_is_computed_again(pooling, monkeypatch, caplog):
    request = request_for(pooling)
    expected = np.array(read_or_extract(request).features)
    flip(request.path, -100)  # the last block holds 6 rows; 16 bytes of checksums stand behind it
    computed = []
    run = Extraction._run
    monkeypatch.setattr(
        Extraction, "_run", lambda self, pixels, *rest: computed.append(len(pixels)) or run(self, pixels, *rest)
    )
    found = read_or_extract(request)
    assert found.was_cached
    assert np.asarray(found.features) == pytest.approx(expected, abs=1e-5)
    assert sum(computed) == 6
    assert "rows 64 to 69 of what is cached" in caplog.text
    assert np.array_equal(np.asarray(request.read()), np.asarray(found.features))  # the file is whole again
    assert sum(computed) == 6


def test_entries_of_before_there_were_checksums_are_read_unchecked():
    request = request_for("average")
    expected = np.array(read_or_extract(request).features)
    request.path.write_bytes(request.path.read_bytes()[:-16])
    assert np.array_equal(request.read(), expected)
    flip(request.path, -1)
    assert not np.array_equal(request.read(), expected)
    request.path.write_bytes(request.path.read_bytes()[:-1])
    assert request.read() is None
    assert np.asarray(read_or_extract(request).features) == pytest.approx(expected, abs=1e-5)


def test_images_known_by_name_alone_make_no_features():
    """The advisor looks up features of preprocessed images without making these."""
    dataset = TinyDataset(num_images=70)
    chain = fit_chain("clahe", dataset.pixels, np.arange(10))
    made = request_for("average", enhanced_images(dataset, chain))
    read_or_extract(made)
    flip(made.path, -100)
    named = request_for("average", named_images(dataset, chain))
    assert named.path == made.path
    assert named.read() is None
    assert made.read() is not None


def test_preprocessed_images_are_made_again():
    dataset = TinyDataset(num_images=70)
    chain = fit_chain("clahe", dataset.pixels, np.arange(10))
    expected = np.array(enhanced_images(dataset, chain).pixels)
    path = next(Path(f).parent for f in [request_for("average").path]).parent / "enhanced"
    flip(next(path.glob("*.npy")), 5000)
    assert np.array_equal(np.asarray(enhanced_images(dataset, chain).pixels), expected)


def test_a_damaged_shard_is_computed_again_and_the_whole_is_checked():
    """Sharded extraction, a flipped bit in a part, then one in the whole, read as folds read it: by scattered rows."""
    request = request_for(UNPOOLED)
    for index in (1, 2):
        fill_shard(request, Shard(index, 2))
    flip(next(request.path.parent.glob("*-shards/00002.npy")), 3000)
    assert combine(request, 2)
    expected = np.concatenate(list(Extraction(request).batches(lambda: False, range(70))))
    rows = request.read()
    assert isinstance(rows, CheckedRows)
    for fold in range(3):
        part = np.flatnonzero(np.arange(70) % 3 == fold)
        assert rows[part] == pytest.approx(expected[part], abs=1e-5)
    flip(request.path, 4000)
    again = request.read()
    assert again[np.array([69, 0])] == pytest.approx(expected[[69, 0]], abs=1e-5)


RANK = """
import numpy as np
import pytest
from tests import quick_network
from tests.test_flipped_bits import request_for
from lib.features.extraction import UNPOOLED
quick_network.register(pytest.MonkeyPatch())
rows = request_for(UNPOOLED).read()
print(float(np.asarray(rows[:], dtype=np.float64).sum()))
"""


@pytest.mark.slow
def test_two_processes_mend_one_file():
    request = request_for(UNPOOLED)
    expected = float(np.asarray(read_or_extract(request).features, dtype=np.float64).sum())
    flip(request.path, 2000)
    readers = [
        subprocess.Popen([sys.executable, "-c", RANK], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for reader in readers:
        assert float(reader.communicate()[0]) == pytest.approx(expected, rel=1e-5)
    assert float(np.asarray(request.read(), dtype=np.float64).sum()) == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 40 images each, one of which has a mask."""
    root = write_classes(tmp_path / "pets", {"a": 40, "b": 40})
    (root / "masks").mkdir()
    Image.fromarray(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)).save(root / "masks" / "0.png")
    (root / "metadata.csv").write_text("path,mask_path\na/0.png,masks/0.png\n")
    return root


def test_pixels_and_masks_are_decoded_again_from_their_originals(folder, caplog):
    dataset = import_folder(folder)
    pixels, mask = np.array(dataset.pixels), np.array(dataset.mask(0))
    stored = (dataset.folder / PIXELS_FILE).read_bytes()
    flip(dataset.folder / PIXELS_FILE, 12345)
    flip(dataset.folder / MASKS_FILE, 123)
    damaged = open_dataset("pets")  # to open it reads no block
    assert "checksum" not in caplog.text
    assert np.array_equal(np.asarray(damaged.pixels), pixels)
    assert np.array_equal(damaged.mask(0), mask)
    assert "rows 0 to 63 of the pixels of the data set 'pets'" in caplog.text
    assert "rows 0 to 63 of the masks of the data set 'pets'" in caplog.text
    assert (dataset.folder / PIXELS_FILE).read_bytes() == stored
    open_dataset("pets").verify()


def test_images_of_16_bits_are_decoded_again_by_the_scale_of_their_set(tmp_path):
    for name, top in (("dim", 900), ("bright", 60_000)):
        (tmp_path / "deep" / name).mkdir(parents=True)
        for number in range(5):
            values = np.random.default_rng(number).integers(0, top, (40, 40)).astype(np.uint16)
            Image.fromarray(values).save(tmp_path / "deep" / name / f"{number}.png")
    dataset = import_folder(tmp_path / "deep")
    expected = np.array(dataset.pixels)
    assert expected[:5].mean() > 5 * expected[5:].mean()  # one scale for both classes
    flip(dataset.folder / PIXELS_FILE, 12345)
    assert np.array_equal(np.asarray(open_dataset("deep").pixels), expected)


@pytest.mark.parametrize("fate", ["changed", "gone", "damaged"])
def test_pixels_without_their_originals_are_one_sentence(folder, fate):
    dataset = import_folder(folder)
    flip(dataset.folder / PIXELS_FILE, 12345)
    original = folder / "a" / "3.png"
    if fate == "changed":
        picture(999).save(original)
    elif fate == "gone":
        original.unlink()
    else:
        original.write_bytes(b"no image")
    sentences = {"changed": "has changed since the import", "gone": "is no longer there", "damaged": "cannot be read"}
    with pytest.raises(UserError, match=rf"rows 0 to 63 of the pixels .* {sentences[fate]}.*import it again") as raised:
        open_dataset("pets").pixels[0]
    assert "\n" not in str(raised.value)
    assert open_dataset("pets").pixels[79].shape == (64, 64, 3)  # the other block


def test_a_damaged_table_is_noticed_when_it_is_opened(folder):
    dataset = import_folder(folder)
    flip(dataset.folder / TABLE_FILE, 50)
    with pytest.raises(UserError, match=r"'pets' is damaged: the checksum of .*table.parquet is wrong"):
        _ = open_dataset("pets").table


def test_data_sets_of_before_there_were_checksums_open_unchecked(folder):
    dataset = import_folder(folder)
    description = read_json(dataset.folder / DESCRIPTION_FILE)
    del description["block_sums"]
    write_json(dataset.folder / DESCRIPTION_FILE, description)
    flip(dataset.folder / PIXELS_FILE, 12345)
    assert open_dataset("pets").pixels[:].shape == (80, 64, 64, 3)


def test_what_is_kept_without_a_way_to_make_it_is_dropped(caplog):
    request = request_for("average")
    read_or_extract(request)
    flip(request.path, -100)
    assert read_entry(request.path, 70, is_mapped=False) is None
    assert "It is computed again" in caplog.text


@pytest.mark.slow
def test_folds_of_sharded_features_that_are_killed_resumed_and_damaged_end_the_same(tmp_path):
    """Parts of two machines, two folds, a kill in each, and a bit that flips whenever nobody looks."""
    dataset = TinyDataset(num_images=80)
    session = partial(make_session, "partial_finetuning", dataset, augmentation="none")
    probe = session()
    part = probe.preparation.kept_part(untrained_classifier(probe.config, num_classes=2))
    (request,) = probe.preparation.requests(part)
    for index in (1, 2):
        fill_shard(request, Shard(index, 2))
    flip(next(request.path.parent.glob("*-shards/00001.npy")), 5000)
    assert combine(request, 2)
    for fold in range(2):
        split = dataset.split(0, num_folds=2, fold=fold)
        expected = session().fit(split)
        flip(request.path, 3000)
        with pytest.raises(Killed):
            session(listener=killed_after(4)).fit(split, dense(tmp_path / str(fold)))
        flip(request.path, -1000)
        resumed = session().fit(split, dense(tmp_path / str(fold)))
        assert weights_of(resumed.classifier) == pytest.approx(weights_of(expected.classifier), abs=1e-4)
