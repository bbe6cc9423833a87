import os
import shutil
from collections import namedtuple

import pytest

from lib.data.sources.remote_files import RemoteFile, bring_files
from lib.errors import Stopped, UserError
from tests.data.sources import published

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def archive(tmp_path):
    """A served archive of one folder: its entry, the server's folder and what was asked."""
    folder = tmp_path / "served"
    folder.mkdir()
    content = published.tar_gz({"pictures/a.txt": os.urandom(300_000), "pictures/deep/b.txt": b"b"})
    (folder / "set.tar.gz").write_bytes(content)
    with published.serving(folder) as (url, asked):
        yield RemoteFile(
            url=f"{url}/set.tar.gz?download=1", md5=published.md5(content), num_bytes=len(content), into="inner",
            unpacks_to="pictures",
        ), folder / "set.tar.gz", asked  # fmt: skip


def bring(file, root, progress=lambda *told: None):
    bring_files([file], root, title="A set", progress=progress)


def everything(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_archive_is_fetched_checked_unpacked_and_told_in_bytes(archive, tmp_path):
    file, served, asked = archive
    told = []
    bring(file, tmp_path / "root", lambda *facts: told.append(facts))
    assert everything(tmp_path / "root") == ["inner/pictures/a.txt", "inner/pictures/deep/b.txt"]
    size = served.stat().st_size
    last = {what: (done, total) for done, total, what in told}
    assert list(last) == ["Downloading set.tar.gz", "Checking set.tar.gz", "Unpacking set.tar.gz"]
    assert set(last.values()) == {(size, size)}
    bring(file, tmp_path / "root")
    assert len(asked) == 1


@pytest.mark.parametrize("word", ["Downloading", "Checking", "Unpacking"])
def test_cancelled_at_any_step_leaves_nothing_that_counts(archive, tmp_path, word):
    file, _, asked = archive

    def stop(done, total, what):
        if what.startswith(word):
            raise Stopped

    with pytest.raises(Stopped):
        bring(file, tmp_path / "root", stop)
    # The archive itself is whole before it is unpacked, and is not fetched a second time.
    assert everything(tmp_path / "root") == (["inner/set.tar.gz"] if word == "Unpacking" else [])
    bring(file, tmp_path / "root")
    assert (tmp_path / "root" / "inner" / "pictures" / "a.txt").stat().st_size == 300_000
    assert len(asked) == (1 if word == "Unpacking" else 2)


def test_halves_of_a_killed_import_are_no_files(archive, tmp_path):
    file, _, _ = archive
    inner = tmp_path / "root" / "inner"
    (inner / ".set.tar.gz.half" / "pictures").mkdir(parents=True)
    (inner / ".set.tar.gz.unchecked").write_bytes(b"half")
    (inner / ".set.tar.gz.unchecked.0f.partial").write_bytes(b"half")
    bring(file, tmp_path / "root")
    assert everything(tmp_path / "root") == ["inner/pictures/a.txt", "inner/pictures/deep/b.txt"]
    assert not (inner / ".set.tar.gz.half").exists()


def test_damaged_and_broken_downloads_are_thrown_away(archive, tmp_path):
    file, served, _ = archive
    whole = served.read_bytes()
    served.write_bytes(whole[:-7])
    with pytest.raises(UserError, match=r"The download of set.tar.gz arrived damaged \(invalid MD5"):
        bring(file, tmp_path / "root")
    assert everything(tmp_path / "root") == []


def test_file_that_was_put_there_by_hand_is_used_and_stays(archive, tmp_path):
    file, served, asked = archive
    (tmp_path / "root" / "inner").mkdir(parents=True)
    shutil.copy(served, tmp_path / "root" / "inner" / "set.tar.gz")
    bring(file, tmp_path / "root")
    assert asked == []
    assert "inner/set.tar.gz" in everything(tmp_path / "root")
    assert "inner/pictures/a.txt" in everything(tmp_path / "root")


def test_another_file_that_was_put_there_is_refused(archive, tmp_path):
    file, _, asked = archive
    path = tmp_path / "root" / "inner" / "set.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"set.tar.gz is not the published file, or not all of it .* Delete it, and"):
        bring(file, tmp_path / "root")
    assert asked == []
    assert path.read_bytes() == b"half of it"


def test_file_that_stays_as_it_is_counts_once_it_was_checked(archive, tmp_path):
    archive_entry, _, asked = archive
    file = RemoteFile(url=archive_entry.url, md5=archive_entry.md5, num_bytes=5)
    root = tmp_path / "root"
    assert not file.is_ready(root)
    bring(file, root)
    assert file.is_ready(root)
    told = []
    bring(file, root, lambda *facts: told.append(facts))
    assert told == []  # not even summed again
    (root / "set.tar.gz").write_bytes(b"another")
    assert not file.is_ready(root)
    with pytest.raises(UserError, match="is not the published file"):
        bring(file, root)
    assert len(asked) == 1


def test_packed_file_is_unpacked(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    md5 = published.gz(root, "table.h5.gz", b"content")
    file = RemoteFile(url="https://example.invalid/table.h5.gz", md5=md5, num_bytes=9, unpacks_to="table.h5")
    bring(file, root)
    assert (root / "table.h5").read_bytes() == b"content"


def test_archive_without_what_it_is_known_for_is_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    content = published.tar_gz({"other/a.txt": b"a"})
    (root / "set.tar.gz").write_bytes(content)
    file = RemoteFile(
        url="https://example.invalid/set.tar.gz", md5=published.md5(content), num_bytes=9, unpacks_to="pictures"
    )
    with pytest.raises(UserError, match=r"holds no pictures, which it is known for"):
        bring(file, root)
    assert everything(root) == ["set.tar.gz"]


def test_no_network_is_one_sentence_that_says_where_to_put_the_file(tmp_path):
    root = tmp_path / "root"
    file = RemoteFile(url="https://data.example.org/a/set.tar.gz?download=1", md5="0" * 32, num_bytes=9, into="inner")
    with pytest.raises(UserError) as caught:
        bring(file, root)
    message = str(caught.value)
    assert message.startswith("A set (set.tar.gz) could not be fetched from data.example.org (")
    assert (
        f"download https://data.example.org/a/set.tar.gz?download=1 and copy the file to {root / 'inner'}." in message
    )
    assert "\n" not in message
    assert everything(root) == []


def test_no_network_names_all_files_that_are_not_there(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "b.bin").write_bytes(b"b")
    urls = [f"https://data.example.org/{name}.bin" for name in "abc"]
    files = [RemoteFile(url=url, md5=published.md5(b"b"), num_bytes=1) for url in urls]
    with pytest.raises(UserError, match=rf"copy the file to {root}\. The same for: {urls[2]}\.$"):
        bring_files(files, root, title="A set", progress=lambda *told: None)


def test_disk_that_is_too_small_is_told_before_anything_is_fetched(archive, tmp_path, monkeypatch):
    file, _, asked = archive
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(10**9, 10**9 - 2_000_000, 2_000_000))
    with pytest.raises(UserError, match=r"A set needs 293 KiB in .*root, and 1.9 MiB are left there; free some space"):
        bring(file, tmp_path / "root")
    assert asked == []


def test_full_disk_is_told_as_one(archive, tmp_path, monkeypatch):
    file, _, _ = archive

    def fail(*given, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.data.sources.remote_files.fetch_file", fail)
    with pytest.raises(UserError, match=r"A set \(set.tar.gz\) could not be written to .*TRANSFERSCOPE_HOME"):
        bring(file, tmp_path / "root")
