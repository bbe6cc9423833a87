from pathlib import Path

import pytest

from lib.atomic import atomic_path, digest_of, read_json, read_kept, sha256_of_file, write_json


def test_write_json_round_trip(tmp_path: Path):
    write_json(tmp_path / "deep" / "a.json", {"name": "Ärzte", "n": 3})
    assert read_json(tmp_path / "deep" / "a.json") == {"name": "Ärzte", "n": 3}


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="midway"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("midway")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.txt"]


def test_sha256_of_file_matches_the_published_value(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_what_was_kept_is_read_or_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert read_kept(path, dict) is None
    write_json(path, {"a": 1})
    assert read_kept(path, lambda content: content["a"]) == 1
    assert read_kept(path, lambda content: content["b"]) is None  # of another format
    path.write_text("{", encoding="utf-8")
    assert read_kept(path, dict) is None


def test_a_digest_depends_on_what_is_described_and_not_on_its_order() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert digest_of({}) == "44136fa355b3678a1146ad16f7e8649e"  # the SHA-256 of "{}"
