import json

import pytest
import torch

from lib.cli.doctor import describe_machine
from lib.features import engine
from lib.features.engine import EngineChoice
from lib.features.onnx_session import runtime_version
from lib.settings import DEFAULT_BACKBONE, cache_dir
from lib.tracking.writer import code_version


def test_doctor_reports_and_keeps_its_report(command, monkeypatch):
    monkeypatch.setattr("lib.precision.choose_dtype", lambda device, purpose="inference": ("float32", "asked for"))
    choice = EngineChoice("onnx", 8, "125 by torch and 200 by ONNX Runtime")
    monkeypatch.setattr(engine, "_try_engines", lambda part, **_: choice)
    quick = json.loads(command("doctor", "--json", "--no-trial").out.splitlines()[-1])
    assert (quick["engine"], quick["engines"]) == ("auto", {})
    report = json.loads(command("doctor", "--json").out.splitlines()[-1])
    assert (report["engine"], report["engine_reason"]) == ("onnx", choice.reason)
    ((key, found),) = report["engines"].items()
    assert key.split("|")[0] == DEFAULT_BACKBONE
    assert found["batch_size"] == 8
    assert report["packages"]["onnxruntime"] == runtime_version()
    assert report["device"] in {"cpu", "cuda", "mps"}
    assert report["dtype_reason"] == "asked for"
    assert {entry["backbone"] for entry in report["weights"]} >= {"mobilenet_v2", "vgg16"}
    assert json.loads((cache_dir() / "doctor.json").read_text()) == report
    text = command("doctor").out
    assert text.split()[:2] == ["version", report["version"]] == ["version", code_version()]
    assert "torchvision" in text
    assert "mobilenet_v2" in text
    assert text.count(choice.reason) == 2


@pytest.mark.slow
def test_doctor_says_that_the_package_is_missing(command, monkeypatch):
    monkeypatch.setattr(engine, "why_missing", lambda: "it is missing")
    report = json.loads(command("doctor", "--json").out.splitlines()[-1])
    assert (report["engine"], report["engine_reason"]) == ("torch", "it is missing")


@pytest.mark.slow
def test_doctor_says_that_apple_gpus_were_not_tried(command, monkeypatch):
    assert "MPS" not in command("doctor", "--no-trial").out
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert json.loads(command("doctor", "--json").out.splitlines()[-1])["device"] == "mps"
    (line,) = (line for line in command("doctor").out.splitlines() if line.startswith("device_note"))
    assert "MPS is chosen where it is present" in line
    assert "not tried" in line


@pytest.mark.slow
def test_machine_description_fits_json():
    described = json.loads(json.dumps(describe_machine()))
    assert described["torch"] == torch.__version__
    assert described["dtype"] in {"float32", "bfloat16"}
    assert described["num_cores"] >= 1
    assert described["memory_mib"] > 100
