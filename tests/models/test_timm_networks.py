"""Networks of timm by name: what was found out is kept and read again, names are searched, refusals are sentences."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lib.errors import UserError
from lib.models import timm_networks
from lib.models.backbones import BACKBONES
from lib.models.timm_networks import find_timm, known_timm_specs, search_timm, timm_names
from lib.models.weights import weights_digest
from tests.models.timm_families import described_once  # noqa: F401 (a fixture)


def test_unknown_names_bring_near_ones():
    with pytest.raises(UserError, match=r"timm .* has no network 'convnext_ato'. Did you mean timm:convnext_atto or"):
        BACKBONES.get("timm:convnext_ato")
    with pytest.raises(UserError, match=r"Did you mean timm:resnet18.a1_in1k or"):
        BACKBONES.get("timm:resnet18.a9_in1k")
    for name in ("timm:", "timm:../../etc", "timm:hf-hub:x/y", "timm:a/b"):
        with pytest.raises(UserError, match="has no network"):
            BACKBONES.get(name)


def test_random_weights_differ_by_name():
    names = ("timm:test_resnet", "timm:test_vit", "resnet18")
    assert len({weights_digest(name, "random") for name in names}) == 3


def test_a_known_network_is_read_without_torch(described):
    spec = BACKBONES.get("timm:test_vit")
    assert json.loads((described / "test_vit-1.json").read_text())["name"] == "timm:test_vit"
    code = (
        "import sys, pathlib; from lib.models import timm_networks as t; from lib.models.backbones import BACKBONES;"
        f"t._folder = lambda: pathlib.Path({str(described)!r});"
        "spec = BACKBONES.get('timm:test_vit'); assert 'torch' not in sys.modules and 'timm' not in sys.modules;"
        "print(spec == eval(input(), vars(__import__('lib.models.backbone_spec', fromlist=['x']))))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=repr(spec), text=True, capture_output=True)
    assert done.stdout == "True\n", done.stderr


def test_what_an_earlier_version_found_out_is_still_read(described):
    path, spec = described / "test_vit-1.json", BACKBONES.get("timm:test_vit")
    content = json.loads(path.read_text())
    counts = [stage.pop("num_parameters") for stage in content["stages"]]
    earlier = [{**stage, "group": stage["name"]} for stage in content["stages"]]
    own = {"stage_parameters": counts, "num_parameters": sum(counts), "year": 2020, "weights_file": "any"}
    path.write_text(json.dumps({**content, **own, "stages": earlier}))
    assert BACKBONES.get("timm:test_vit") == spec


@pytest.mark.slow
def test_a_new_network_is_looked_at_in_a_process_of_its_own(home):
    code = (
        "import sys; from lib.errors import UserError; from lib.models.backbones import BACKBONES;"
        "print(BACKBONES.get('timm:test_vit').feature_dim, 'torch' in sys.modules)\n"
        "try:\n    BACKBONES.get('timm:test_vitt')\nexcept UserError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=240)
    first, second = done.stdout.splitlines()
    assert first == "64 False", done.stderr
    assert "has no network 'test_vitt'. Did you mean timm:test_vit" in second
    assert {path.name for path in (home / "cache" / "timm").rglob("*.json")} == {"names-1.json", "test_vit-1.json"}


def test_a_damaged_file_is_written_again(described: Path) -> None:
    path = described / "test_resnet-1.json"
    BACKBONES.get("timm:test_resnet")
    path.write_text("{")
    assert BACKBONES.get("timm:test_resnet").stage_names[0] == "act1"
    assert json.loads(path.read_text())["title"] == "timm:test_resnet"


def test_names_are_found_by_their_words() -> None:
    assert search_timm("test vit")[:3] == ["test_vit", "test_vit2", "test_vit3"]
    assert search_timm(" TIMM:Test_ViT ") == search_timm("test_vit")
    found = search_timm("tiny convnext")
    assert len(found) == 12
    assert all("tiny" in name and "convnext" in name for name in found)
    has_weights = ["." in name for name in search_timm("resnet", limit=10_000)]
    assert has_weights == sorted(has_weights)  # whole names before the choices of weights
    assert len(set(has_weights)) == 2
    assert "resnet18" in search_timm("resnte18")  # none holds it: the most similar
    assert search_timm("convnext", limit=2) == search_timm("convnext")[:2]


@pytest.mark.parametrize("text", ["", "  ", "timm:", " timm: "])
def test_no_word_finds_nothing(text: str) -> None:
    assert search_timm(text) == []


def test_networks_asked_for_before_are_listed_and_what_cannot_be_read_is_left_out(described: Path) -> None:
    before = {path: path.read_bytes() for path in described.iterdir()}
    for path in described.iterdir():
        path.unlink()
    assert known_timm_specs() == []
    asked = [find_timm("timm:test_vit"), find_timm("timm:test_resnet")]
    timm_names()  # is a file of its own, and no network
    (described / "test_convnext-1.json").write_text("{")
    (described / "test_efficientnet-1.json").write_text("[]")
    (described / "test_vit2-2.json").write_text((described / "test_vit-1.json").read_text())  # of another format
    assert known_timm_specs() == asked[::-1]
    for path, content in before.items():
        path.write_bytes(content)


def test_without_timm_networks_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(timm_networks, "_folder", timm_networks._version.__wrapped__)
    with pytest.raises(UserError, match=r"need the Python package timm, which is not installed here. Run `pip install"):
        find_timm("timm:test_vit")
    assert known_timm_specs() == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", r"timm:test_vit could not be looked at \(IndexError\): the process that builds it ended early"),
        ("loading\nKilled\n", r"could not be looked at \(JSONDecodeError\)"),
        ('a warning\n{"error": "The network takes no RGB images."}\n', r"^The network takes no RGB images.$"),
    ],
)
def test_a_child_that_fails_is_one_sentence(said: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 0, stdout=said))
    with pytest.raises(UserError, match=message):
        timm_networks._ask_child("test_vit")


def test_a_child_answers_with_one_line_whatever_becomes_of_it(
    capsys: pytest.CaptureFixture,
    described: Path,
) -> None:
    timm_networks.answer_child("test_vit")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == "timm:test_vit"
    timm_networks.answer_child("test_vitt")
    assert "has no network 'test_vitt'" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
