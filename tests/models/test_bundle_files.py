"""The files of a bundle by themselves: written and read again, side files, checksums, what lies beside."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import UserError
from lib.models import bundle_files
from lib.models.bundle_files import (
    bundle_file_paths,
    read_bundle_files,
    read_side_file,
    unpacked_bundle,
    write_bundle_files,
    write_side_file,
    zip_bundle,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    made.mkdir()
    write_bundle_files(made, {"classes": ["a", "b"]}, {"head.weight": torch.arange(6.0).view(2, 3)})
    return made


def read_side(path: Path, build=lambda arrays, facts: (arrays, facts)):
    return read_side_file(path, build, title="The list", owner="run", remedy="train it again")


def test_tensors_come_back_in_whatever_memory_they_lay(tmp_path: Path) -> None:
    tensors = {
        "turned": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "a view": torch.arange(12.0).view(3, 4).T,
        "trained": torch.nn.Parameter(torch.ones(2)),
        "count": torch.tensor(3),
    }
    write_bundle_files(tmp_path, {"network_sha256": "of another saving"}, tensors)
    manifest, found = read_bundle_files(tmp_path)
    assert len(manifest["network_sha256"]) == 64
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) and not found[name].requires_grad for name, tensor in tensors.items())


def test_tensors_of_another_saving_are_noticed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_bundle_files(tmp_path / "other", {}, {"head.weight": torch.ones(2, 3)})
    (tmp_path / "other" / "network.safetensors").replace(folder / "network.safetensors")
    with pytest.raises(UserError, match=r"network.safetensors of bundle does not match its manifest.json: it is dam"):
        read_bundle_files(folder)


@pytest.mark.parametrize("version", [2, "1", 1.0, None])
def test_a_format_that_is_no_known_number_is_one_sentence(folder: Path, version: object) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, "format_version": version}))
    with pytest.raises(
        UserError, match=f"^This bundle has format {version!r}, this program reads 1; update the program"
    ):
        read_bundle_files(folder)


def test_a_large_manifest_is_not_parsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_files, "MAX_MANIFEST_BYTES", 2**20)
    (folder / "manifest.json").write_text(json.dumps(["x" * 2**20]))
    monkeypatch.setattr(bundle_files, "_parsed", None)  # would fail
    with pytest.raises(UserError, match=r"^The manifest.json of bundle is over 1 MiB.$"):
        read_bundle_files(folder)


def test_what_lies_beside_comes_back_with_its_facts(tmp_path: Path) -> None:
    arrays = {"seen": np.arange(4, dtype=np.uint8), "empty": np.empty((0, 3), np.float16)}
    write_side_file(tmp_path / "list.safetensors", arrays, {"is_complete": "True"})
    found, facts = read_side(tmp_path / "list.safetensors")
    assert facts == {"is_complete": "True", "format_version": "1"}
    assert all(np.array_equal(found[name], one) and found[name].dtype == one.dtype for name, one in arrays.items())


def test_a_side_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "list.safetensors"
    wanted = r"^The list list.safetensors of this run cannot be read \(.+\); train it again.$"
    with pytest.raises(UserError, match=wanted):
        read_side(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match=wanted):
        read_side(path)
    write_side_file(path, {"seen": np.ones(2)}, {})
    with pytest.raises(UserError, match=wanted):
        read_side(path, lambda arrays, facts: arrays["fitted"])


def test_a_side_file_of_a_newer_format_is_told_even_where_its_content_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(bundle_files, "SIDE_FORMAT_VERSION", 2)
        write_side_file(tmp_path / "list.safetensors", {"new name": np.ones(2)}, {})
    with pytest.raises(UserError, match=r"^The list list.safetensors has format 2, newer than 1; update the program.$"):
        read_side(tmp_path / "list.safetensors", lambda arrays, facts: arrays["seen"])


def test_a_zip_holds_what_belongs_to_the_bundle_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    (folder / "README.txt").write_text("read me")
    for stranger in ("notes.txt", ".hidden.json", "weights.pth"):
        (folder / stranger).write_text("{}")
    (tmp_path / "secret.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    zip_bundle(folder, tmp_path / "one.zip")
    zip_bundle(folder, tmp_path / "two.zip")  # its list of checksums is there by now
    names = ["README.txt", "checksums.json", "manifest.json", "network.safetensors"]
    assert [file.name for file in bundle_file_paths(folder)] == names
    for name in ("one.zip", "two.zip"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert archive.namelist() == names
            assert json.loads(archive.read("checksums.json"))["files"].keys() == set(names) - {"checksums.json"}
        with unpacked_bundle(tmp_path / name) as unpacked:
            assert torch.equal(read_bundle_files(unpacked)[1]["head.weight"], torch.arange(6.0).view(2, 3))
        assert not unpacked.exists()


def test_a_folder_is_used_where_it_is_and_stays(folder: Path) -> None:
    with unpacked_bundle(folder) as found:
        assert found == folder
    assert folder.is_dir()


def test_a_table_of_contents_without_end_is_refused(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.json", "")
    with (
        pytest.raises(
            UserError, match=r"^many.zip cannot be opened as a bundle. The archive lists more than 1,000 entr"
        ),
        unpacked_bundle(tmp_path / "many.zip"),
    ):
        pass
