"""The list of seen images: by content, compact, and honest about what is not known."""

import hashlib

import numpy as np
import pytest

from lib.errors import UserError
from lib.models.seen_images import SEEN_FILE, SeenImages, image_id_of, load_seen, save_seen


def ids(*names):
    return [image_id_of(hashlib.sha256(name.encode()).hexdigest()) for name in names]


def test_roles_by_content_and_fitted_counts_more_than_validated():
    seen = SeenImages.of(ids("a", "b"), ids("b", "c"))
    assert seen.roles(ids("a", "b", "c", "d")).tolist() == ["fitted", "fitted", "validated", ""]
    assert seen.role(ids("c")[0]) == "validated"
    assert SeenImages().roles(ids("a")).tolist() == [""]


def test_ids_that_are_no_hashes_are_told_apart_too():
    seen = SeenImages.of(["image 1", "x" * 16], [])
    assert seen.roles(["image 1", "image 2", "x" * 16, "y" * 16]).tolist() == ["fitted", "", "fitted", ""]


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_saved_list_comes_back_at_eight_bytes_an_image(tmp_path, is_complete):
    fitted = [f"{number:016x}" for number in range(2**63, 2**63 + 1000)]  # beyond what a signed number holds
    save_seen(tmp_path / SEEN_FILE, SeenImages.of(fitted, ids("val"), is_complete=is_complete))
    loaded = load_seen(tmp_path / SEEN_FILE)
    assert loaded.is_complete is is_complete
    assert (loaded.roles(fitted) == "fitted").all()
    assert loaded.role(ids("val")[0]) == "validated"
    assert (tmp_path / SEEN_FILE).stat().st_size < 8 * 1001 + 400


def test_damaged_lists_are_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / SEEN_FILE
    path.write_bytes(b"no list at all")
    with pytest.raises(UserError, match="train it again"):
        load_seen(path)
    metadata = {"format_version": "1", "is_complete": "True"}
    save_file({"fitted": np.ones((2, 2)), "validated": np.ones(2)}, path, metadata=metadata)
    with pytest.raises(UserError, match="damaged"):
        load_seen(path)
    save_file({"fitted": np.ones(2, np.uint64)}, path, metadata=metadata)
    with pytest.raises(UserError, match="cannot be read"):
        load_seen(path)
