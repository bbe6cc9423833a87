import json

import numpy as np

from lib import disk_cache
from lib.disk_cache import entry_path


def test_caches_are_listed_limited_and_cleared(command) -> None:
    path = entry_path("features", "abc")
    rows = np.zeros((4, 1024), dtype=np.uint8)
    list(disk_cache.write_entry(path, [rows], 4))
    assert "4.1 KiB of 10 GiB used" in command("caches", "list").out
    found = json.loads(command("caches", "list", "--json").out)
    assert [(entry["key"], entry["in_use"]) for entry in found["entries"]] == [("abc", False)]
    held = disk_cache.read_entry(path, 4, is_mapped=False)
    assert command("caches", "clear").out == "Cleared 0 bytes; 1 in use stayed.\n"
    assert held is not None
    del held
    assert command("caches", "clear").out == "Cleared 4.1 KiB.\n"
    assert command("caches", "limit", "2.5").out == "The cache holds at most 2.5 GiB; 0 bytes removed.\n"
    assert "of 2.5 GiB used" in command("caches", "list").out
    answer = command("caches", "limit", "0")
    assert (answer.status, "between 0.1 and" in answer.err) == (2, True)


def test_what_takes_room_is_listed_deleted_and_brought_back(command, images):
    command("datasets", "import", images, "--name", "colours")
    listed = json.loads(command("storage", "list", "--json").out.splitlines()[-1])
    assert [(one["kind"], one["key"]) for one in listed["items"]] == [("dataset", "colours")]
    assert listed["used_bytes"] >= listed["items"][0]["num_bytes"] > 24 * 64 * 64 * 3
    assert "It is in the trash" in command("storage", "delete", "dataset", "colours").out
    (trashed,) = json.loads(command("storage", "list", "--json").out.splitlines()[-1])["items"]
    assert "In all" in command("storage", "list").out
    assert command("storage", "restore", trashed["key"]).status == 0
    assert "colours" in command("datasets", "list").out
    assert "The trash is empty" in command("storage", "empty-trash").out


def test_a_quota_is_set_and_heeded(command, images):
    assert "of a quota of 5.0 GiB" in command("storage", "quota", 5).out
    assert command("storage", "quota", "lots").status == 2
    assert command("storage", "quota", "none").out.strip() == "There is no quota now."
