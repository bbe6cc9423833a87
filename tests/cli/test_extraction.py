import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib import cli
from lib.cli.training_config import config_from, opened_training
from lib.features.engine import EngineChoice
from lib.features.extraction import Extraction
from lib.features.onnx_session import OnnxSession
from lib.settings import cache_dir
from lib.training.events import ignore_events, never_stop
from lib.training.preparation import fit_splits
from lib.training.session import TrainingSession
from tests.cli.conftest import Answer

EXTRACT = (
    "extract", "--dataset", "hues", "--backbone", "mobilenet_v3_small", "--weights", "random", "--json",
    "--set", "input_size_px=32", "--set", "dtype=float32",
)  # fmt: skip
NUM_IMAGES = 21


@pytest.fixture(scope="module")
def hues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a data set of three classes that differ in colour, seven images each, 32 px."""
    folder, random = tmp_path_factory.mktemp("hues"), np.random.default_rng(0)
    for name, colour in (("a", (220, 90, 40)), ("b", (40, 90, 220)), ("c", (60, 200, 60))):
        (folder / "hues" / name).mkdir(parents=True)
        for number in range(7):
            pixels = np.clip(random.normal(colour, 30, size=(32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "hues" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(folder / "home"))
        assert cli.run(["datasets", "import", str(folder / "hues"), "--name", "hues"]) == 0
    return folder / "home"


@pytest.fixture(autouse=True)
def _own_cache(hues: Path, home: Path) -> None:
    """The data set in the test's own home, with an empty cache."""
    home.mkdir()
    (home / "datasets").symlink_to(hues / "datasets")


def said(answer: Answer) -> dict:
    assert answer.status == 0, answer.err
    return json.loads(answer.out.splitlines()[-1])


def kept() -> dict[str, np.ndarray]:
    return {path.name: np.load(path) for path in sorted((cache_dir() / "features").glob("*.npy"))}


def forbid_extraction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Extraction, "_run", lambda *args: pytest.fail("extracted again"))


FEATURES = ("--strategy", "feature_extraction", "--epochs", "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "num_sets"),
    [
        (("--strategy", "linear_probe"), 1),
        (("--strategy", "probe_then_finetune", "--epochs", "1"), 1),
        (("--strategy", "linear_probe", "--set", "preprocessing=brightness+clahe"), 1),
        # One mean colour for each of two folds and for the last fit.
        (("--strategy", "linear_probe", "--folds", "2", "--set", "preprocessing=brightness"), None),
        (("--set", "max_per_class=5", "--set", "target_map=0,1,1", "--set", "test_fraction=0.4"), 1),
        ((*FEATURES, "--set", "augmentation=rotations"), 4),
        ((*FEATURES, "--set", "augmentation=modern", "--set", "num_views=2", "--seed", "3"), 3),
        (("--strategy", "partial_finetuning", "--epochs", "1", "--set", "unfreeze_from=block5"), 2),
    ],
    ids=["plain", "probe first", "preprocessing", "folds", "part and map", "rotations", "seeded views", "cut"],
)  # fmt: skip
def test_a_training_with_the_same_settings_finds_all_of_it(
    options: tuple[str, ...], num_sets: int | None, command: Callable[..., Answer], monkeypatch
) -> None:
    found = said(command(*EXTRACT, *options))
    assert num_sets is None or found["num_sets"] == num_sets
    per_set = 15 if "max_per_class=5" in options else NUM_IMAGES
    assert found["num_computed"] == found["num_sets"] * per_set
    assert len(kept()) == found["num_sets"]

    forbid_extraction(monkeypatch)
    context = cli.cli.get_command(None, "extract").make_context("extract", [*EXTRACT[1:], *options])
    extra = ("as_json", "recipe", "shard_text")
    config, dataset, compute = opened_training(
        config_from(**{name: value for name, value in context.params.items() if name not in extra})
    )
    session = TrainingSession(config, dataset, compute, listener=ignore_events, should_stop=never_stop)
    for split in fit_splits(dataset, config):
        session.fit(split)


@pytest.mark.slow
def test_two_parts_are_the_whole_and_a_repetition_computes_nothing(command, monkeypatch) -> None:
    options = (*EXTRACT, *FEATURES, "--set", "augmentation=flip")
    first = said(command(*options, "--shard", "1/2"))
    assert (first["is_complete"], first["missing_shards"], kept()) == (False, [2], {})
    # 21 images in two parts and two views: 10 and 11 each.
    assert first["num_computed"] == 2 * 10
    assert said(command(*options, "--shard", "1/2"))["num_computed"] == 0
    second = said(command(*options, "--shard", "2/2"))
    assert (second["is_complete"], second["num_computed"]) == (True, 2 * 11)
    in_parts = kept()
    assert not list((cache_dir() / "features").glob("*-shards"))

    for path in (cache_dir() / "features").glob("*.npy"):
        path.unlink()
    assert said(command(*options))["num_computed"] == 2 * NUM_IMAGES
    whole = kept()
    assert list(in_parts) == list(whole)
    assert len(whole) == 2
    for name, features in whole.items():
        np.testing.assert_array_equal(in_parts[name], features)

    forbid_extraction(monkeypatch)
    again = said(command(*options, "--shard", "2/2"))
    assert (again["num_computed"], again["is_complete"]) == (0, True)


def test_parts_are_computed_by_the_engine_that_the_trial_of_this_home_found(command, monkeypatch) -> None:
    monkeypatch.setattr("lib.features.engine.MIN_IMAGES", 1)
    tried = []
    monkeypatch.setattr(
        "lib.features.engine._try_engines", lambda part, **_: tried.append(part) or EngineChoice("onnx", 4, "faster")
    )
    sizes, run = [], OnnxSession.__call__
    monkeypatch.setattr(OnnxSession, "__call__", lambda self, batch: sizes.append(len(batch)) or run(self, batch))
    for part in ("1/2", "2/2"):
        said(command(*EXTRACT, "--shard", part))
    assert sizes == [4] * 6  # the last of each part is filled up
    assert len(tried) == 1
    # The training that follows in this home chooses alike and finds them.
    forbid_extraction(monkeypatch)
    assert said(command(*EXTRACT))["num_computed"] == 0


@pytest.mark.slow
def test_a_damaged_part_is_computed_again(command) -> None:
    assert said(command(*EXTRACT))["is_complete"]
    whole = kept()
    for path in (cache_dir() / "features").glob("*.npy"):
        path.unlink()
    command(*EXTRACT, "--shard", "1/2")
    (part,) = (cache_dir() / "features").glob("*-shards/00001.npy")
    content = bytearray(part.read_bytes())
    content[-1] ^= 255
    part.write_bytes(bytes(content))
    assert said(command(*EXTRACT, "--shard", "1/2"))["num_computed"] == 10
    assert said(command(*EXTRACT, "--shard", "2/2"))["is_complete"]
    for name, features in kept().items():
        np.testing.assert_array_equal(whole[name], features)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--shard", "0/2"), "A shard is i/n with i from 1 to n"),
        (("--shard", "3/2"), "received 3/2"),
        (("--shard", "x"), "received 'x'"),
        (("--shard", "2"), "received '2'"),
        (("--dataset", "nothing"), "There is no data set"),
        (("--set", "speed=9"), "Unknown setting 'speed'"),
        (("--recipe", "soup"), "Unknown recipe 'soup'"),
        (("--strategy", "full_finetuning"), "nothing to extract for this training: every stage is trained"),
        ((*FEATURES, "--set", "augmentation=modern"), "num_views keeps a fixed number of them"),
    ],
)
def test_bad_input_is_one_sentence(options: tuple[str, ...], sentence: str, command) -> None:
    answer = command(*EXTRACT, *options)
    assert (answer.status, answer.out) == (2, "")
    assert sentence in answer.err
    assert answer.err.count("\n") == 1
    assert kept() == {}
