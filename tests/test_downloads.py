import http.client
import urllib.error
from collections import namedtuple

import pytest
from torch import hub

from lib import downloads
from lib.downloads import DamagedDownload, fetch_file, md5_of_file, require_room, why_not_fetched
from lib.errors import UserError
from tests.data.sources import published


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file.bin").write_bytes(b"content")
    with published.serving(folder) as (url, _):
        yield f"{url}/file.bin"


def test_file_with_an_md5_gets_its_name_once_it_was_checked(served, tmp_path):
    target = tmp_path / "file.bin"
    fetch_file(served, target, md5="9a0364b9e99bb480dd25e1f0284c8555")
    assert target.read_bytes() == b"content"
    target.unlink()
    with pytest.raises(DamagedDownload, match="arrived damaged"):
        fetch_file(served, target, md5="0" * 32)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_file_with_a_sha256_and_one_without_any_sum(served, tmp_path):
    sha256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    fetch_file(served, tmp_path / "a.bin", sha256=sha256[:8])
    fetch_file(served, tmp_path / "b.bin")
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes() == b"content"
    with pytest.raises(DamagedDownload):
        fetch_file(served, tmp_path / "c.bin", sha256="0" * 64)


def test_torch_hub_is_left_as_it_was(served, tmp_path):
    before = hub.tqdm
    with pytest.raises(urllib.error.HTTPError):
        fetch_file(f"{served}.gone", tmp_path / "gone.bin")
    assert hub.tqdm is before


def test_answer_that_is_none_is_an_error_of_the_connection(tmp_path, monkeypatch):
    def refuse(*given):
        raise http.client.BadStatusLine("SSH-2.0")

    monkeypatch.setattr(hub, "download_url_to_file", refuse)
    with pytest.raises(ConnectionError, match=r"SSH-2\.0"):
        fetch_file("http://127.0.0.1:1/file.bin", tmp_path / "file.bin")


def test_md5_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_CHUNK_BYTES", 4)
    path, told = tmp_path / "file.bin", []
    path.write_bytes(b"content")
    assert md5_of_file(path, lambda *facts: told.append(facts), "x") == "9a0364b9e99bb480dd25e1f0284c8555"
    assert told == [(4, 7, "x"), (7, 7, "x")]


def test_sentences_say_what_to_do(tmp_path):
    where = ("https://host.example/a/file.bin", tmp_path / "file.bin")
    offline = why_not_fetched("The file", *where, urllib.error.URLError("no route"), otherwise="HOME")
    assert offline == (
        "The file could not be fetched from host.example (no route). On a machine with a network, download "
        f"{where[0]} and copy the file to {tmp_path}."
    )
    renamed = why_not_fetched("The file", where[0], tmp_path / "other.bin", TimeoutError("timed out"), otherwise="HOME")
    assert renamed.endswith(f"copy the file to {tmp_path} as other.bin.")
    full = why_not_fetched("The file", *where, OSError(28, "No space left on device"), otherwise="HOME")
    assert full == (
        f"The file could not be written to {tmp_path} (No space left on device). Make room there or set HOME to a "
        "folder that can be written."
    )


def test_room_is_asked_for_before(tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10**10, 0, 5_300_000_000))
    require_room(tmp_path, 5_000_000_000, what="Food", otherwise="HOME")
    with pytest.raises(UserError, match=r"Food needs 4.8 GiB in .* and 4.9 GiB are left there; free some space or set"):
        require_room(tmp_path, 5_200_000_000, what="Food", otherwise="HOME")
