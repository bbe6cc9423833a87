"""What ships: whether it is whole, what of a run belongs to it, and tensors that are halved and widened again."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lib.atomic import read_json, write_json
from lib.demo.recording import (
    FORMAT_VERSION,
    RECORDING_FILE,
    find_recording,
    halve_tensors,
    pack_run,
    size_table,
    unpack_run,
    write_recording,
)
from lib.errors import UserError
from lib.tracking.state import run_folder


def written(folder, runs=None):
    """A recording of two files."""
    (folder / "race").mkdir(parents=True)
    (folder / "race" / "plan.json").write_text("{}")
    (folder / "README.md").write_text("about it")
    (folder / "table.csv").write_text("1,2")
    return write_recording(folder, created_s=0.0, machine="a machine", race_id="beef", runs=runs or {})


def run_with(folder, tensors):
    """A run's folder whose bundle holds the tensors."""
    bundle = folder / "bundle"
    bundle.mkdir(parents=True)
    save_file(tensors, bundle / "network.safetensors")
    write_json(bundle / "manifest.json", {"classes": ["a", "b"]})
    return folder


def tensors_of(folder):
    return load_file(folder / "bundle" / "network.safetensors")


def test_what_is_written_is_found_whole_and_its_page_is_no_part_of_it(tmp_path):
    made = written(tmp_path / "demo", {"linear_probe": "r1"})
    found = find_recording(tmp_path / "demo")
    assert found == made
    assert set(found.files) == {"race/plan.json", "table.csv"}
    assert found.words == "recorded on 1 January 1970, a machine"
    (tmp_path / "demo" / "README.md").write_text("other words")
    found.verify()
    assert find_recording(tmp_path / "none") is None


@pytest.mark.parametrize("damage", ["has changed", "is missing"])
def test_the_first_damaged_file_is_named_with_what_to_do(tmp_path, damage):
    found = written(tmp_path / "demo")
    path = tmp_path / "demo" / "race" / "plan.json"
    path.unlink() if damage == "is missing" else path.write_text("[]")
    with pytest.raises(UserError, match=rf"{path} {damage}\. Get the program's files again .* record it anew"):
        found.verify()


@pytest.mark.parametrize("lacking", ["runs", "format_version", "all"])
def test_a_list_that_lacks_something_is_damaged(tmp_path, lacking):
    written(tmp_path / "demo")
    path = tmp_path / "demo" / RECORDING_FILE
    content = {key: value for key, value in read_json(path).items() if key != lacking}
    path.write_text("[]" if lacking == "all" else json.dumps(content))
    os.utime(path, ns=(1, 1))  # read anew
    with pytest.raises(UserError, match=r"recording.json cannot be read \((KeyError|TypeError)\)"):
        find_recording(tmp_path / "demo")


def test_a_recording_of_a_later_program_says_so(tmp_path):
    written(tmp_path / "demo")
    path = tmp_path / "demo" / RECORDING_FILE
    write_json(path, {**read_json(path), "format_version": FORMAT_VERSION + 1})
    os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match=f"has format {FORMAT_VERSION + 1}, newer than {FORMAT_VERSION}"):
        find_recording(tmp_path / "demo")


def test_a_run_is_packed_without_what_only_its_process_was(tmp_path):
    source = run_with(run_folder("r1"), {"x": np.zeros(2, np.float32)})
    (source / "checkpoints").mkdir()
    (source / "summary.json").write_text("{}")
    (source / "worker.pid").write_text("7")
    write_json(source / "state.json", {"state": "finished", "pid": 7, "pid_started_s": 1.0, "host": "h",
                                       "is_detached": True, "name": "old"})  # fmt: skip
    pack_run("r1", tmp_path / "packed", name="Probe", machine="a machine", tags={"demo": "linear_probe"})
    packed = tmp_path / "packed"
    assert read_json(packed / "state.json") == {"state": "finished", "name": "Probe", "recorded_on": "a machine"}
    assert {str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()} == {
        "state.json", "summary.json", "tags.json", "bundle/manifest.json", "bundle/network.safetensors"
    }  # fmt: skip


def test_halves_are_off_by_no_more_than_a_step_and_on_average_by_nothing(tmp_path):
    ramp = np.linspace(1, 2, 10_000, dtype=np.float32).reshape(100, 100)
    roundings = []
    for seed in (0, 1, 2):
        run = run_with(tmp_path / f"{seed}", {"ramp": ramp})
        halve_tensors(run, seed=seed)
        halved = tensors_of(run)["ramp"]
        assert halved.dtype == np.float16
        assert np.abs(halved.astype(np.float32) - ramp).max() <= 2**-11 * (2 if seed else 1)
        assert abs(float((halved.astype(np.float32) - ramp).mean())) < 1e-5
        roundings.append(halved.tobytes())
    assert roundings[0] == ramp.astype(np.float16).tobytes()
    assert len(set(roundings)) == 3


def test_what_half_precision_would_spoil_stays_as_it_is(tmp_path):
    kept = {
        "large": np.full((100, 100), 1e6, np.float32),
        "few": np.full(4095, 0.1, np.float32),
        "counts": np.arange(5000),
    }
    run = run_with(tmp_path, kept | {"half": np.full(4096, 0.1, np.float32)})
    for seed in (0, 1):
        halve_tensors(run, seed=seed)
    found = tensors_of(run)
    assert {name: str(one.dtype) for name, one in found.items()} == {
        "large": "float32", "few": "float32", "counts": "int64", "half": "float16"
    }  # fmt: skip
    assert all(np.array_equal(found[name], one) for name, one in kept.items())


def test_a_rounding_by_chance_stays_in_the_range(tmp_path):
    most = float(np.finfo(np.float16).max)
    edges = {f"{value}": np.full(5000, value, np.float32) for value in (1 - most, 0.0, most - 1, most)}
    run = run_with(tmp_path, edges)
    halve_tensors(run, seed=3)
    found = tensors_of(run)
    assert all(np.isfinite(one).all() for one in found.values())
    assert all((found[f"{value}"] == value).all() for value in (0.0, most))  # what fits is not moved


def test_a_run_is_unpacked_in_single_precision_with_the_checksum_of_its_new_file(tmp_path):
    from lib.atomic import sha256_of_file

    source = run_with(tmp_path / "shipped", {"half": np.full(3, 0.5, np.float16), "count": np.array(7)})
    unpack_run(source, tmp_path / "run")
    found = tensors_of(tmp_path / "run")
    assert (found["half"].dtype, found["half"].tolist(), found["count"]) == (np.float32, [0.5] * 3, 7)
    bundle = tmp_path / "run" / "bundle"
    assert read_json(bundle / "manifest.json")["network_sha256"] == sha256_of_file(bundle / "network.safetensors")
    (source / "bundle" / "network.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"The recorded classifier .*again/bundle cannot be read"):
        unpack_run(source, tmp_path / "again")


def test_the_parts_and_their_sizes_stand_beside_the_recording(shipped):
    table = size_table(shipped)
    assert "| data set: masks | 30 |" in table
    assert "| linear_probe: changed tensors | 1 |" in table
    assert table in (shipped.folder / "README.md").read_text()
    assert json.loads((shipped.folder / "dataset" / "dataset.json").read_text())["source"] == ""


def test_parts_stand_in_the_order_of_the_runs_after_what_they_share(tmp_path):
    made = written(tmp_path / "demo")
    for run_id in ("r1", "r2"):
        run_with(tmp_path / "demo" / "runs" / run_id, {"x": np.zeros(2, np.float32)})
    files = {f"runs/{run_id}/bundle/network.safetensors": "" for run_id in ("r1", "r2")}
    lines = size_table(replace(made, runs={"second": "r2", "first": "r1"}, files=made.files | files)).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "race, seeds of the samples", "second: changed tensors", "first: changed tensors", "**all**"
    ]  # fmt: skip
