"""`python -m tests.benchmarks.explore [--images 20000] [--views map label] [--home FOLDER]`: reruns of "Explore data".

A data set of 20,000 small images of 10,000 patients with three finished runs and an edit log (tests/generated_runs.py),
and one of as many images without labels. What the page makes once in the background (measures, means, near duplicates,
an audit, a map) is made before, from features that are drawn at random in clusters. Each view is opened, then changed
twenty times in what a person changes there: wall and processor seconds from the click to the script's end, with what
the click itself does. Edits (exclude, label, undo) make a new version each time and stand in lines of their own. A
`--home` is kept, so that another call begins at once.
"""

import argparse
import dataclasses
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_RERUNS, _WARM = 20, 2
_BACKBONE = "bundled_vgg"
_CLASSES = ("blossom", "gravel", "meadow", "shore")
Change = Callable[[Any, int], None]


@dataclass(frozen=True)
class _Case:
    """A view and what is changed there; `change(page, turn)` says the next thing."""

    view: str
    words: str
    change: Change
    link: tuple[tuple[str, str], ...] = ()
    is_unlabelled: bool = False


def main() -> None:
    """Make the home, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--home", type=Path, help="kept; by default a temporary one")
    parser.add_argument("--views", nargs="*", default=(), help="only these")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # Streamlit's, that there is no browser
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRANSFERSCOPE_HOME"] = str(options.home or folder)
        name, unlabelled = _make(options.images)
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        print(f"{os.cpu_count()} cores, load {load}, {time.strftime('%Y-%m-%d %H:%M')}; ms from click to end of script")
        _bench(name, unlabelled, [case for case in _cases(name) if not options.views or case.view in options.views])


# What is looked at


def _make(num_images: int) -> tuple[str, str]:
    from lib.audit.auditing import AuditQuestion
    from lib.data.edit_log import EXCLUDE, RELABEL
    from lib.data.edits import add_edit
    from lib.data.image_measures import image_measures
    from lib.data.library import open_dataset
    from lib.explain.image_map import MapQuestion, measure_map
    from lib.features.stage_outputs import StagedSource
    from lib.models.backbones import BACKBONES
    from tests.generated_runs import make_generated_dataset, make_generated_runs

    shape: dict[str, Any] = {"num_classes": 5, "num_test": num_images * 2 // 5, "is_ordinal": False}
    make_generated_runs(3, **shape)
    dataset = make_generated_dataset(**shape, with_groups=True)
    if not dataset.edits:
        ids = dataset.table["image_id"].to_numpy()
        for turn in range(20):
            rows = ids[turn::997][:10].tolist()
            if turn % 2:
                add_edit(dataset.name, RELABEL, rows, dataset.class_names[turn % 5], reason="benchmark")
            else:
                add_edit(dataset.name, EXCLUDE, rows, reason="benchmark")
        dataset = open_dataset(dataset.name)
    image_measures(dataset)
    with _drawn_features():
        _add_findings(AuditQuestion(dataset, 0, _BACKBONE))
        source = StagedSource.published(BACKBONES.get(_BACKBONE))
        measure_map(MapQuestion(dataset, source), stages=[stage.name for stage in source.stages[-2:]])
    unlabelled = _make_unlabelled(num_images)
    return dataset.name, unlabelled


def _add_findings(question: Any) -> None:
    """The audit's report, with thousands of drawn findings."""
    from lib.atomic import write_json
    from lib.audit.auditing import audit
    from lib.audit.findings import NOTABLE, Finding

    ids, names = question.dataset.table["image_id"].tolist(), question.dataset.class_sources
    drawn = [
        Finding(
            kind=kind, severity=NOTABLE, image_ids=tuple(ids[row : row + 2]), sentence="Drawn.", exclude=(ids[row],),
            relabel_to=names[row % len(names)] if kind == "label_errors" else "",
        )
        for kind, start in (("label_errors", 0), ("outliers", 5), ("copies_across_splits", 8))
        for row in range(start, len(ids) - 2, 10)
    ]  # fmt: skip
    report = audit(question)
    write_json(question.path, dataclasses.replace(report, findings=tuple(drawn)).to_dict())


def _make_unlabelled(num_images: int) -> str:
    """As many images without labels, 200 of which a person labelled, and features by which others are suggested."""
    from PIL import Image

    from lib.data.edit_log import RELABEL
    from lib.data.edits import add_edit
    from lib.data.importing import import_from
    from lib.data.library import is_taken, open_dataset
    from lib.features.label_suggestions import labelling_features

    name = "unlabelled"
    if not is_taken(name):
        with tempfile.TemporaryDirectory() as folder:
            generator = np.random.default_rng(0)
            for number in range(num_images):
                pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(Path(folder) / f"{number:05d}.png", compress_level=1)
            import_from("unlabelled", {"path": folder, "classes": ",".join(_CLASSES)}, name=name)
    dataset = open_dataset(name)
    if not dataset.edits:
        ids = dataset.table["image_id"].to_numpy()
        for number, class_name in enumerate(_CLASSES):
            add_edit(name, RELABEL, ids[number * 50 : number * 50 + 50].tolist(), class_name)
    with _drawn_features():
        labelling_features(dataset)
    return name


class _drawn_features:  # noqa: N801  (a context manager)
    """While it lasts, features are random clusters; nothing is computed by a network."""

    def __enter__(self) -> None:
        from lib.explain import image_map
        from lib.features import cache, engine

        names = ((image_map, "read_or_extract"), (cache, "read_or_extract"), (engine, "choose_engine"))
        self._own = [(module, name, getattr(module, name)) for module, name in names]
        image_map.read_or_extract = cache.read_or_extract = _draw_features  # type: ignore[assignment]
        engine.choose_engine = lambda *_, **__: engine.EngineChoice()  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        for module, name, value in self._own:
            setattr(module, name, value)


@dataclass(frozen=True)
class _Features:
    features: np.ndarray


def _draw_features(request: Any, **_: Any) -> _Features:
    stages = getattr(getattr(request, "source", None), "stages", ())
    width = sum(stage.num_channels for stage in stages) or 256
    generator, number = np.random.default_rng(0), len(request.dataset.pixels)
    centres = generator.normal(0, 1, (40, width))
    drawn = centres[generator.integers(0, 40, number)] + generator.normal(0, 1, (number, width))
    return _Features(drawn.astype(np.float32))


# What a person changes


def _view(**values: str | None) -> Callable[[Any], None]:
    def put(page: Any) -> None:
        for key, value in values.items():
            page.session_state[f"view_{key}"] = value

    return put


def _in_turn(*changes: Callable[[Any], None]) -> Change:
    return lambda page, turn: changes[turn % len(changes)](page)


def _widget(key: str, value: Callable[[int], Any]) -> Change:
    return lambda page, turn: page.session_state.__setitem__(key, value(turn))


def _click(prefix: str) -> Change:
    """The first button whose key begins so."""

    def click(page: Any, _turn: int) -> None:
        next(one for one in page.button if (one.key or "").startswith(prefix)).click()

    return click


def _cases(name: str) -> list[_Case]:
    from lib.data.library import open_dataset
    from lib.models.backbones import BACKBONES

    dataset = open_dataset(name)
    ids, classes = dataset.table["image_id"].tolist(), dataset.class_names
    stages = [stage.name for stage in BACKBONES.get(_BACKBONE).stages][-2:]

    def select(page: Any, turn: int) -> None:
        kept = page.session_state["map_selections"]
        for one in kept.values():
            one["points"] = np.arange(turn, 20 * turn + 200)

    nothing: Change = lambda *_: None  # noqa: E731
    return [
        _Case("overview", "part, class, image", _in_turn(
            _view(**{"class": classes[0]}), lambda page: page.session_state.__setitem__("explore_split", "Test"),
            _view(**{"class": None}), lambda page: page.session_state.__setitem__("explore_split", "All"))),
        _Case("images", "class, part, order, page", _in_turn(
            _view(**{"class": classes[1]}), _view(measure="sharpness"), _view(split="test"), _view(sheet="3"),
            _view(**{"class": None, "split": None, "measure": None, "sheet": "200"}))),
        _Case("images", "a run's answers", _in_turn(
            _view(outcome="wrong"), _view(measure="loss"), _view(predicted=classes[1]), _view(outcome=None),
            _view(predicted=None, measure=None)), (("run", "first"),)),
        _Case("images", "the next image in full", lambda page, turn: _view(open=ids[100 * turn])(page)),
        _Case("measures", "measure, rows, range", _in_turn(
            _view(measure="sharpness"), _view(by="split"), _view(measure="brightness"), _view(by="both"),
            _view(between="100,140"), _view(between=None, by=None))),
        _Case("means", "part", _in_turn(_view(split="train"), _view(split="test"), _view(split=None))),
        _Case("audit", "page of a kind", lambda page, turn: [
            page.session_state.__setitem__(f"audit_{kind}_{name}_page", 1 + turn % 5)
            for kind in ("label_errors", "outliers", "copies_across_splits")]),
        _Case("map", "stage, colour", _in_turn(
            _view(stage=stages[0]), _view(colour="split"), _view(stage=stages[1]), _view(colour="flag"),
            _view(stage=stages[0], colour="class"))),
        _Case("map", "a run's answers, stage", _in_turn(
            _view(colour="prediction"), _view(stage=stages[0]), _view(colour="error"), _view(stage=stages[1])),
            (("run", "first"),)),
        _Case("map", "selected points", select),
        _Case("gap", "nothing", nothing),
        _Case("splits", "nothing", nothing),
        _Case("splits", "test share, seed", lambda page, turn: page.session_state.__setitem__(
            ("splits_test", "splits_seed")[turn % 2], 10 + turn), (("way", "draw"),)),
        _Case("edits", "page", _widget("edits_page", lambda turn: 1 + turn % 3)),
        _Case("origin", "nothing", nothing),
        _Case("storage", "kind", _widget("storage_kind", lambda turn: ("all", "dataset", "run")[turn % 3])),
        _Case("label", "a label", _click("label_class_"), is_unlabelled=True),
        _Case("label", "skip", _click("label_skip"), is_unlabelled=True),
        _Case("audit", "exclude one", _click("audit_exclude_")),
        _Case("edits", "undo one", _click("edit_undo_")),
    ]  # fmt: skip


# The clock


class _Clock:
    """From where callbacks begin to where the page is drawn."""

    def __init__(self) -> None:
        from streamlit.runtime.state.session_state import SessionState

        from pages.common import clicks

        self.began = self.ended = (0.0, 0.0)
        will_rerun, end_of_run = SessionState.on_script_will_rerun, clicks.end_of_run

        def begin(*arguments: Any, **options: Any) -> Any:
            self.began = time.perf_counter(), time.thread_time()
            return will_rerun(*arguments, **options)

        def end() -> None:
            end_of_run()
            self.ended = time.perf_counter(), time.thread_time()

        SessionState.on_script_will_rerun, clicks.end_of_run = begin, end  # type: ignore[method-assign]

    @property
    def ms(self) -> tuple[float, float]:
        return 1000 * (self.ended[0] - self.began[0]), 1000 * (self.ended[1] - self.began[1])


def _bench(name: str, unlabelled: str, cases: list[_Case]) -> None:
    from streamlit.testing.v1 import AppTest

    from lib.demo import recording
    from lib.settings import PROJECT_ROOT
    from lib.tracking import list_runs
    from pages.common import clicks

    recording.FOLDER = Path(os.environ["TRANSFERSCOPE_HOME"]) / "no_demo"  # the page would unpack it
    clicks.DOUBLE_CLICK_S = 0.0
    clock, run_id = _Clock(), list_runs()[0].run_id
    for case in cases:
        at = AppTest.from_file(str(PROJECT_ROOT / "app.py"), default_timeout=300).run()
        at.query_params["dataset"] = unlabelled if case.is_unlabelled else name
        at.query_params["backbone"], at.query_params["tab"] = _BACKBONE, case.view
        for key, value in case.link:
            at.query_params[key] = run_id if key == "run" else value
        at.switch_page("pages/explore_data.py").run()
        while any("Stop" in (button.label or "") for button in at.button):  # what is made once is waited for
            time.sleep(0.5)
            at.run()
        first, times = clock.ms, []
        for turn in range(_WARM + _RERUNS):
            case.change(at, turn)
            at.run()
            times.append(clock.ms)
        assert not at.exception, at.exception
        _report(f"{case.view}: {case.words}", first[0], times[_WARM:])


def _report(words: str, first_ms: float, times: list[tuple[float, float]]) -> None:
    told = []
    for values in zip(*times, strict=True):
        ordered = sorted(values)
        told.append(f"{statistics.median(ordered):5.0f}, p95 {ordered[round(0.95 * len(ordered)) - 1]:5.0f}")
    print(f"  {words:<36} wall {told[0]}   processor {told[1]}   opened in {first_ms:5.0f}", flush=True)


if __name__ == "__main__":
    main()
