import itertools
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.data import interrupted, store_writer
from lib.data.dataset import DESCRIPTION_FILE, PIXELS_FILE, Dataset
from lib.data.decoder_pool import DecoderPool
from lib.data.importing import continue_import, import_folder
from lib.data.interrupted import drop_interrupted, find_interrupted, interrupted_imports
from lib.data.library import library_lock
from lib.errors import Stopped, UserError
from lib.settings import datasets_dir
from tests.data.folders import picture, write_classes

NUM = 200
DECODING = "decoding images"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """200 small images in two classes, of which one is cut off and one is a copy."""
    root = write_classes(tmp_path / "pets", {"cat": NUM // 2, "dog": NUM // 2})
    damaged = root / "cat" / "10.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    shutil.copy(root / "dog" / "0.png", root / "dog" / "copy.png")
    return root


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded, of all imports of the test."""
    paths: list[Path] = []
    decode = DecoderPool.decode

    def counted(pool: DecoderPool, source: Path):
        paths.append(source)
        return decode(pool, source)

    monkeypatch.setattr(DecoderPool, "decode", counted)
    return paths


def _dies_at(count: int, what: str = DECODING) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, doing: str) -> None:
        if (done, doing) == (count, what):
            time.sleep(0.05)  # what is written is safe by now, or not
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def _kill_at(folder: Path, count: int, what: str = DECODING) -> None:
    """An import in a process of its own that is killed there."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=import_folder, args=(folder,), kwargs={"progress": _dies_at(count, what)})
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def _stop_at(folder: Path, count: int) -> str:
    def progress(done: int, total: int, what: str) -> None:
        if (done, what) == (count, DECODING):
            raise Stopped

    with pytest.raises(Stopped) as stopped:
        import_folder(folder, progress=progress)
    return str(stopped.value)


def _whole(folder: Path) -> tuple[str, str, list[int]]:
    """Version, checksum of the pixels and checksums of blocks of an import of a copy that nobody interrupted."""
    twin = shutil.copytree(folder, folder.parent / "twin")
    return _facts(import_folder(twin, name="whole"))


def _facts(dataset: Dataset) -> tuple[str, str, list[int]]:
    dataset.verify()
    np.asarray(dataset.pixels)  # every block is compared with its checksum
    description = dataset.description
    return dataset.version, description["sha256"][PIXELS_FILE], description["block_sums"][PIXELS_FILE]


def test_a_killed_import_goes_on_and_ends_as_one_that_was_not(folder: Path, decoded: list[Path]):
    expected = _whole(folder)
    decoded.clear()
    _kill_at(folder, 170)
    left = find_interrupted(folder)
    assert (left.name, left.source, left.num_stored, left.num_files) == ("pets", str(folder), 129, NUM + 1)
    assert "129 of 201 images are stored" in left.sentence
    seen: list[tuple[str, int, int]] = []
    dataset = import_folder(folder, progress=lambda done, total, what: seen.append((what, done, total)))
    assert _facts(dataset) == expected
    assert len(decoded) == NUM - 129
    assert ("checking what an earlier import stored", 129, NUM) in seen
    assert (DECODING, 129, NUM) in seen
    assert seen[-1] == (DECODING, NUM, NUM)
    assert interrupted_imports() == []
    assert [path.name for path in datasets_dir().glob(".i*")] == []


def test_a_stopped_import_says_what_is_kept_and_one_of_a_few_images_keeps_nothing(folder: Path, decoded: list[Path]):
    assert _stop_at(folder, 150).startswith("Stopped. 129 of 201 images are stored (2 MiB) and kept for 7 days; ")
    decoded.clear()
    import_folder(folder)
    assert len(decoded) == NUM - 129
    few = write_classes(folder.parent / "few", {"a": 5, "b": 5}, first_seed=900)
    assert _stop_at(few, 8) == ""
    assert find_interrupted(few) is None
    assert [path.name for path in datasets_dir().glob(".i*")] == []


def test_files_that_changed_came_or_went_meanwhile(folder: Path, decoded: list[Path]):
    _stop_at(folder, 190)
    picture(7000).save(folder / "cat" / "3.png")  # replaced
    os.utime(folder / "cat" / "4.png")  # touched
    (folder / "cat" / "5.png").unlink()
    picture(7001).save(folder / "cat" / "2a.png")
    picture(7002).save(folder / "cat" / "10.png")  # repaired
    decoded.clear()
    dataset = import_folder(folder)
    again = {path.relative_to(folder).as_posix() for path in decoded}
    assert {"cat/3.png", "cat/2a.png", "cat/10.png"} <= again
    assert not {"cat/4.png", "cat/6.png", "dog/1.png"} & again
    assert len(again) == 3 + NUM - 129
    assert _facts(dataset) == _whole(folder)


def test_a_torn_block_is_decoded_again_and_those_behind_it_are_not(folder: Path, decoded: list[Path]):
    _stop_at(folder, 190)
    (store,) = datasets_dir().glob(".import-*/part-000.bin")
    content = bytearray(store.read_bytes())
    content[70 * 64 * 64 * 3] ^= 1  # in the second block
    store.write_bytes(content)
    decoded.clear()
    dataset = import_folder(folder)
    assert len(decoded) == NUM - 65
    assert _facts(dataset) == _whole(folder)


def test_another_size_begins_anew(folder: Path, decoded: list[Path]):
    _stop_at(folder, 190)
    picture(8000, width=80, height=90).save(folder / "dog" / "large.png")
    decoded.clear()
    assert import_folder(folder).spec.store_side_px == 80
    assert len(decoded) == NUM + 1


@pytest.mark.parametrize("moment", ["_write_masks", "_write_tables", "file_facts"])
def test_an_import_that_ends_after_its_last_image_decodes_nothing_again(
    folder: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch, moment: str
):
    expected = _whole(folder)
    with monkeypatch.context() as patched:
        patched.setattr(store_writer, moment, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        process = multiprocessing.get_context("fork").Process(target=import_folder, args=(folder,))
        process.start()
        process.join(60)
    assert process.exitcode == -signal.SIGKILL
    decoded.clear()
    assert _facts(import_folder(folder)) == expected
    assert decoded == []


def test_a_set_that_was_being_replaced_comes_back(folder: Path):
    before = import_folder(folder)
    picture(9000).save(folder / "cat" / "new.png")
    _stop_at(folder, 190)
    (place,) = datasets_dir().glob(".import-*")
    before.folder.rename(place / "replaced")  # as if it had ended between the two steps
    drop_interrupted(interrupted_imports()[0].key)
    assert json.loads((before.folder / DESCRIPTION_FILE).read_text())["version"] == before.version
    assert import_folder(folder).num_images == before.num_images + 1


def test_a_full_disk_is_one_sentence_and_what_was_stored_stays(
    folder: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patched:
        put = store_writer.StoredRows.put

        def fill(rows: store_writer.StoredRows, *given) -> None:
            if rows.num_rows == 140:
                raise OSError(28, "No space left on device", str(rows.path))
            put(rows, *given)

        patched.setattr(store_writer.StoredRows, "put", fill)
        with pytest.raises(UserError, match=r"The disk is full: .*; 129 of 201 images are stored"):
            import_folder(folder)
    assert not (datasets_dir() / "pets").exists()
    decoded.clear()
    assert import_folder(folder).num_images == NUM - 1
    assert len(decoded) == NUM - 129


def test_no_room_for_a_second_part_lets_go_of_the_first(
    folder: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
):
    _stop_at(folder, 190)
    picture(7001).save(folder / "cat" / "0a.png")
    needed = 201 * 64 * 64 * 3 + 200 * 2**20
    free = itertools.chain([needed - 1], itertools.repeat(needed + 1))
    monkeypatch.setattr(store_writer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": next(free)})())
    decoded.clear()
    dataset = import_folder(folder)
    assert len(decoded) == NUM + 1
    assert _facts(dataset) == _whole(folder)


def test_dropped_and_expired_imports(folder: Path, monkeypatch: pytest.MonkeyPatch):
    _stop_at(folder, 190)
    (left,) = interrupted_imports()
    with library_lock(left.source):
        assert interrupted_imports() == []  # it runs
        assert find_interrupted(folder) is None
        with pytest.raises(UserError, match="or it runs again"):
            drop_interrupted(left.key)
    assert drop_interrupted(left.key) == left
    assert interrupted_imports() == []
    with pytest.raises(UserError, match="There is no interrupted import"):
        drop_interrupted(left.key)
    _stop_at(folder, 190)
    other = write_classes(folder.parent / "other", {"a": 4, "b": 4}, first_seed=600)
    import_folder(other)
    assert len(interrupted_imports()) == 1
    monkeypatch.setattr(interrupted, "KEPT_DAYS", -1)
    import_folder(other, name="again")
    assert interrupted_imports() == []


def _import_quietly(folder: Path, versions: "multiprocessing.Queue[str]") -> None:
    versions.put(f"{import_folder(folder).version} {import_folder(folder).description['created_s']}")


def test_two_processes_that_import_one_folder_make_one_data_set(folder: Path):
    _stop_at(folder, 190)
    context = multiprocessing.get_context("fork")
    versions: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_import_quietly, args=(folder, versions)) for _ in range(2)]
    for process in processes:
        process.start()
    found = {versions.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    assert len(found) == 1
    assert found.pop().split()[0] == _whole(folder)[0]


def test_an_interrupted_import_is_made_again_as_it_was_asked_for(folder: Path, decoded: list[Path]):
    def stop(done: int, total: int, what: str) -> None:
        if (done, what) == (190, DECODING):
            raise Stopped

    with pytest.raises(Stopped):
        import_folder(folder, name="mine", crop_policy="retina_box", pairs=False, progress=stop)
    decoded.clear()
    dataset = continue_import(interrupted_imports()[0].key)
    assert (dataset.name, dataset.spec.crop_policy, dataset.description["options"]["pairs"]) == (
        "mine",
        "retina_box",
        False,
    )
    assert len(decoded) == NUM - 129
    with pytest.raises(UserError, match="There is no interrupted import"):
        continue_import("nothing")


def test_what_is_stored_meanwhile_names_no_file(folder: Path):
    (folder / "cat" / "3.png").rename(folder / "cat" / "mueller_anna.png")
    _stop_at(folder, 190)
    (place,) = datasets_dir().glob(".import-*")
    for path in place.rglob("*.*"):
        assert b"mueller" not in path.read_bytes()
