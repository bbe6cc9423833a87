"""Bundles from elsewhere: what is kept, what is refused and with which sentence."""

import hashlib
import json
import pickle
import zipfile

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.grading.grader import Grader
from lib.grading.imported import (
    delete_bundle,
    import_bundle,
    imported_bundle,
    list_bundles,
    rename_bundle,
    restore_bundle,
)
from lib.grading.taking_away import export_run
from lib.models.bundle_files import read_bundle_files, write_bundle_files, zip_bundle
from lib.models.bundles import save_bundle
from lib.models.classifier import build_classifier
from lib.models.gate import GATE_FILE, save_gate
from lib.models.stages import build_backbone, set_batchnorm_statistics
from tests.grading.squares import png


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    classifier, manifest, gate = trained
    made = tmp_path_factory.mktemp("made") / "bundle"
    save_bundle(made, classifier, manifest, base_digest="")
    save_gate(made / GATE_FILE, gate)
    return made


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    return export_run(folder, tmp_path_factory.mktemp("zip") / "squares.zip")


def rewritten(folder, target, *, manifest=None, tensors=None):
    """A zip with valid checksums whose manifest or tensors were changed."""
    content, kept = read_bundle_files(folder)
    changed = target.parent / "changed"
    changed.mkdir()
    write_bundle_files(changed, {**content, **(manifest or {})}, {**kept, **(tensors or {})})
    (changed / GATE_FILE).write_bytes((folder / GATE_FILE).read_bytes())
    zip_bundle(changed, target)
    return target


def packed(target, files):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_imported_bundle_grades_by_its_id_and_comes_back_from_the_trash(whole, folder):
    kept = import_bundle(whole)
    assert kept.name == "Coloured squares · squares"
    assert [one.bundle_id for one in list_bundles()] == [kept.bundle_id]
    assert kept.manifest["versions"]["python"]
    here, there = (next(iter(Grader.open(one).grade([("a", png("red"))]))) for one in (folder, kept.bundle_id))
    assert there.probabilities == pytest.approx(here.probabilities, abs=1e-6)
    assert import_bundle(whole).bundle_id == kept.bundle_id
    assert import_bundle(whole, name=" Our \n squares ").name == "Our squares"
    assert rename_bundle(kept.bundle_id[:10], "Squares").name == "Squares"
    delete_bundle(kept.bundle_id)
    assert list_bundles() == []
    with pytest.raises(UserError, match="no imported bundle"):
        Grader.open(kept.bundle_id)
    assert restore_bundle(kept.bundle_id).name == "Squares"
    assert imported_bundle("bundle-").folder.is_dir()
    for wrong in ("../../x", "bundle-000000000000"):
        with pytest.raises(UserError, match="no deleted bundle"):
            restore_bundle(wrong)


def test_a_newer_format_is_one_clear_sentence(whole, tmp_path):
    files = members(whole)
    manifest = json.loads(files["manifest.json"])
    newer = {**files, "manifest.json": json.dumps({**manifest, "format_version": 2}), "weights.new": "x"}
    with pytest.raises(UserError, match=r"^This bundle has format 2, this program reads 1; update the program or ex"):
        import_bundle(packed(tmp_path / "newer.zip", newer))
    network = {**manifest, "network": {**manifest["network"], "format_version": 3}}
    with pytest.raises(UserError, match=r"^This bundle has format 3, this program reads 1; update the program or ex"):
        Grader.open(packed(tmp_path / "network.zip", {**files, "manifest.json": json.dumps(network)}))


def test_changed_and_additional_files_are_noticed(whole, tmp_path):
    files = members(whole)
    with pytest.raises(UserError, match=r"README.txt of a.zip does not match its checksums.json"):
        import_bundle(packed(tmp_path / "a.zip", {**files, "README.txt": "other"}))
    with pytest.raises(UserError, match=r"does not list its files"):
        import_bundle(packed(tmp_path / "b.zip", {**files, "more.json": "{}"}))
    with pytest.raises(UserError, match=r"does not list its files"):
        import_bundle(packed(tmp_path / "c.zip", {**files, "checksums.json": "[]"}))
    assert list_bundles() == []


@pytest.mark.parametrize(
    "name", ["../out.json", "/out.json", "a\\..\\out.json", "model.pkl", "run.py", ".x.json", "a/b.json"]
)
def test_names_that_lead_out_and_unknown_kinds_are_refused(whole, tmp_path, name, home):
    with pytest.raises(UserError, match=r"is no bundle of this program"):
        import_bundle(packed(tmp_path / "bad.zip", {**members(whole), name: "{}"}))
    assert not (tmp_path / "out.json").exists()


def test_a_pickle_is_never_opened(whole, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    files = {**members(whole), "network.safetensors": pickle.dumps(Trap())}
    files.pop("checksums.json")
    with pytest.raises(UserError, match=r"does not match its manifest.json"):
        import_bundle(packed(tmp_path / "pickle.zip", files))
    manifest = json.loads(files["manifest.json"])
    manifest["network_sha256"] = hashlib.sha256(files["network.safetensors"]).hexdigest()
    with pytest.raises(UserError, match=r"cannot be read \(SafetensorError\)"):
        import_bundle(packed(tmp_path / "again.zip", {**files, "manifest.json": json.dumps(manifest)}))
    assert not (tmp_path / "trapped").exists()


def test_deep_and_large_json_and_bombs_are_refused(whole, tmp_path):
    files = members(whole)
    files.pop("checksums.json")
    for content, words in (
        ("[" * 50 + "]" * 50, "nested more than 32 deep"),
        ("[" * 100_000 + "]" * 100_000, r"cannot be read \(RecursionError\)|nested more"),
        ("{", "cannot be read"),
        (json.dumps("x" * (5 * 2**20)), "is over 4 MiB"),
    ):
        with pytest.raises(UserError, match=words):
            import_bundle(packed(tmp_path / "json.zip", {**files, "calibration.json": content}))
    with pytest.raises(UserError, match="zip bomb"):
        import_bundle(packed(tmp_path / "bomb.zip", {**files, "zeros.safetensors": bytes(40 * 2**20)}))


def test_tensors_must_fit_the_network_and_be_numbers(folder, tmp_path):
    for number, (tensors, words) in enumerate(
        (
            ({"head.bias": torch.zeros(3)}, r"'head.bias' is torch.float32 \(3,\), its network needs"),
            ({"head.bias": torch.zeros(2).half()}, "torch.float16"),
            ({"other": torch.zeros(1)}, "'other' that its network does not have"),
            ({"head.bias": torch.tensor([0.0, torch.nan])}, "'head.bias' holds NaN or infinity"),
        )
    ):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(UserError, match=words):
            import_bundle(rewritten(folder, place / "x.zip", tensors=tensors))
    assert list_bundles() == []


def test_neighbours_of_classes_that_there_are_not_are_refused(trained, tmp_path):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = build_backbone("mobilenet_v3_small", weights="random", seed=1)
    set_batchnorm_statistics(network, images)
    classifier = build_classifier(network, head="nearest_neighbors", num_classes=2)
    classifier.head.fit(classifier.eval().features(images).detach(), torch.tensor([0, 1, 0, 7]))
    save_bundle(tmp_path / "bundle", classifier, trained[1], base_digest="")
    with pytest.raises(UserError, match="neighbours belong to classes that it does not have"):
        import_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    "manifest",
    [
        {"preprocessing": {"input_size_px": 10**9, "mean": [0] * 3, "std": [1] * 3}},
        {"preprocessing": {"input_size_px": 32, "mean": "abc", "std": [1] * 3}},
        {"preprocessing": {"input_size_px": 32, "mean": [0] * 3, "std": [0] * 3}},
        {"preprocessing": 3},
        {"class_names": ["one"]},
        {"engine": {"name": 5, "stage": []}, "preprocessing": []},
    ],
)
def test_made_up_descriptions_are_one_sentence(folder, tmp_path, manifest):
    with pytest.raises(UserError) as refused:
        import_bundle(rewritten(folder, tmp_path / "x.zip", manifest=manifest))
    assert "\n" not in str(refused.value)
    assert list_bundles() == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_zip_with_any_byte_changed_is_kept_only_if_nothing_was_lost(whole, tmp_path, data):
    content = bytearray(whole.read_bytes())
    # The last kilobytes hold the table of contents; the rest is weights, which the checksums watch.
    place = data.draw(st.one_of(st.integers(0, len(content) - 1), st.integers(len(content) - 1500, len(content) - 1)))
    content[place] = data.draw(st.integers(0, 255))
    changed = tmp_path / "changed.zip"
    changed.write_bytes(content)
    try:
        kept = import_bundle(changed)
    except UserError as error:
        assert str(error).strip()
        assert "\n" not in str(error)
    else:
        assert kept.bundle_id == import_bundle(whole).bundle_id


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(
        ["preprocessing", "class_names", "dataset", "strategy", "engine", "result", "config", "network"]
    ),
    value=_JSON,
)
def test_any_value_in_a_manifest_is_graded_with_or_refused_in_a_sentence(folder, tmp_path_factory, key, value):
    place = tmp_path_factory.mktemp("any")
    try:
        import_bundle(rewritten(folder, place / "x.zip", manifest={key: value}))
    except UserError as error:
        assert str(error).strip()


def test_a_safetensors_file_of_another_kind_is_refused(whole, tmp_path):
    files = members(whole)
    files.pop("checksums.json")
    files[GATE_FILE] = safetensors.torch.save({"reference": torch.zeros(3)})
    with pytest.raises(UserError, match="gate"):
        import_bundle(packed(tmp_path / "gate.zip", files))
