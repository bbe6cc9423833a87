"""What leaves a home of a data set with pseudonyms: no byte of any export names a patient."""

import base64
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from lib import tracking
from lib.data.library import open_dataset
from tests.cli.conftest import TRAIN, write_images

PATIENTS = ("Mueller_Hans", "Özil_Änne")
SECRET = re.compile("|".join(("Mueller", "Hans", "Özil", "zil_", "nne_", r"\\u00d6zil", "%C3%96zil")).encode())


def layers(content: bytes) -> Iterator[bytes]:
    """A file's bytes, and what is packed in them: archives, parquet, streams of a PDF, pictures in a page."""
    yield content
    yield content.decode("utf-16-le", errors="ignore").encode()
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                yield member.filename.encode() + member.comment
                yield from layers(archive.read(member))
    elif content[:4] == b"PAR1":
        yield pd.read_parquet(io.BytesIO(content)).to_csv().encode()
    elif content[:5] == b"%PDF-":
        for stream in re.findall(rb"stream\r?\n(.*?)\r?\n?endstream", content, re.S):
            packed = stream.strip()
            try:
                packed = base64.a85decode(packed, adobe=packed.startswith(b"<~")) if packed.endswith(b"~>") else packed
            except ValueError:
                packed = base64.a85decode(packed.removesuffix(b"~>"))
            try:
                yield zlib.decompress(packed)
            except zlib.error:
                yield packed
    for text in re.findall(rb"base64,([A-Za-z0-9+/=]{40,})", content):
        yield from layers(base64.b64decode(text))


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Two classes, whose files name patients and eyes."""
    root = write_images(tmp_path / "clinic", per_class=14)
    for path in sorted(root.rglob("*.png")):
        number = int(path.stem)
        eye = ("left", "right")[number % 2]
        path.rename(path.with_name(f"{PATIENTS[path.parent.name == 'warm']}{number // 2}_{eye}.png"))
    return root


def test_a_name_is_found_wherever_it_is_packed():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "of Mueller")
    table = io.BytesIO()
    pd.DataFrame({"path": ["Hans.png"] * 50}).to_parquet(table)
    page = b'<img src="data:x;base64,' + base64.b64encode(bytes(40) + b"Mueller" + bytes(40)) + b'">'
    report = b"%PDF-1.4\nstream\n" + zlib.compress("of Mueller".encode("latin-1")) + b"\nendstream"
    for content in (packed.getvalue(), table.getvalue(), page, report, "Mueller".encode("utf-16-le")):
        assert any(SECRET.search(layer) for layer in layers(content))
    assert not any(SECRET.search(layer) for layer in layers(b"nobody"))


@pytest.mark.slow
def test_no_export_of_a_set_with_pseudonyms_names_a_patient(command, clinic, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    said = {}

    def do(*arguments, name: str = ""):
        answer = command(*arguments)
        assert answer.status == 0, (arguments, answer.err)
        said[name or " ".join(map(str, arguments[:3]))] = (answer.out + answer.err).encode()
        return answer

    do("datasets", "import", clinic, "--name", "eyes", "--pseudonyms")
    dataset = open_dataset("eyes")
    assert dataset.has_pseudonyms
    ids = dataset.table["image_id"].tolist()
    do(*TRAIN, "--dataset", "eyes", "--strategy", "linear_probe")
    run = next(iter(tracking.list_runs())).run_id
    # What a person grades has names of its own, though it may be the very picture of a patient.
    shutil.copyfile(next((clinic / "warm").iterdir()), tmp_path / "upload.png")
    for ending in ("csv", "json", "html", "pdf"):
        do("grade", tmp_path / "upload.png", "--run", run, "--out", out / f"report.{ending}")
    do("explain", "--dataset", "eyes", "--image", ids[0], "--run", run, "--out", out / "map.png", "--json")
    do("export", "--run", run, "--out", out / "bundle.zip")
    do("datasets", "edit", "eyes", "--exclude", ids[3])
    do("datasets", "edits", "eyes", "--json")
    for ending in ("csv", "parquet"):
        do("datasets", "split", "eyes", "--no-copies", "--out", out / f"split.{ending}")
    do("datasets", "split", "eyes", "--test", "0.3", "--no-copies", "--save")
    do("datasets", "audit", "eyes", "--backbone", "bundled_vgg", "--json", "--out", out / "findings.csv")
    do("datasets", "measures", "eyes", "--csv")
    do("datasets", "show", "eyes", "--json")
    do("runs", "show", run, "--json")
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 9
    for name, content in [*((str(path), path.read_bytes()) for path in files), *said.items()]:
        if name.startswith("datasets import"):
            continue  # to the person who imports it, whose files they are
        for layer in layers(content):
            assert (found := SECRET.search(layer)) is None, (name, layer[max(0, found.start() - 200) :][:400])
    for ending in ("html", "pdf"):  # the search reads what a report says
        report = b"".join(layers((out / f"report.{ending}").read_bytes()))
        assert b"upload.png" in report
    assert any(one in (out / "report.csv").read_text() for one in ids)  # a case is told by its content
