"""Published results by protocol, and the selected runs of the same kind on the same axis."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from lib.data.specs import DatasetSpec
from lib.errors import UserError
from lib.figures.published_charts import boards_figure
from lib.recipes.boards import Board, boards_table, published_boards
from lib.recipes.protocols import FINDINGS
from lib.recipes.published import PUBLISHED_METRICS
from lib.tracking.tested import TestedRun
from pages.common import controls, resources, state
from pages.common.run_view import dataset_of_run
from pages.common.text import plain
from pages.compare.scene import Scene

_ALL = "all"


def draw(scene: Scene) -> None:
    """The boards of the chosen metric, and what each of them is of."""
    tested = scene.tested()
    specs = {one.run.run_id: _spec_of(one) for one in tested}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metric = _choose_metric(scene)
        boards = published_boards(metric, tested, specs, is_of_kind_only=True)
        is_all = _choose_all(can_choose=bool(boards))
    if is_all:
        boards = published_boards(metric, tested, specs)
    if not tested:
        st.caption("None of the selected runs has predictions (yet): the published results stand by themselves.")
    elif not any(line.is_ours for board in boards for line in board.lines):
        st.caption("None of the selected runs is of a kind that anything here is about, or has this metric.")
    title = PUBLISHED_METRICS[metric][0] + (", less is better" if PUBLISHED_METRICS[metric][1] else "")
    table = boards_table(boards, metric)
    figure = boards_figure(boards, title=title, is_dark=controls.is_dark())
    num = int((~table["is_ours"].astype(bool)).sum())
    alt = f"Dot plot: {title}, {num} published results in boards by protocol, and the selected runs"
    controls.show_figure(figure, alt=alt, key="published", data=table)
    st.caption(
        "Grey and hollow: published. Coloured: the selected runs. Each board has its own images, split and definition, "
        "so only lines of one board can be held against each other. Dashed 95 % intervals: as published, "
        "from the published matrix, or Wilson's of the number of test images."
    )
    _explain(boards)


def _spec_of(tested: TestedRun) -> DatasetSpec | None:
    dataset = dataset_of_run(tested.run.config)
    if dataset is not None:
        return dataset.spec
    try:
        return resources.find_spec(str(tested.run.config.get("dataset")))
    except UserError:
        return None


def _choose_metric(scene: Scene) -> str:
    titles = {key: title.partition(",")[0] for key, (title, _) in PUBLISHED_METRICS.items()}
    known = (state.current("metric"), scene.metric.key, "accuracy")
    return controls.choose(
        "Metric", titles, "metric", key="compare_published_metric", is_segmented=True, label_visibility="collapsed",
        value=next(one for one in known if one in titles),
    )  # fmt: skip


def _choose_all(*, can_choose: bool) -> bool:
    """Whether the boards of other kinds are drawn too; always where there are none of the runs' kind."""
    if not can_choose:
        return True
    key = "compare_published_all"
    st.session_state[key] = state.current("boards") == _ALL
    return st.toggle("All subjects", key=key, help="Also what is of other images than the selected runs.",
                     on_change=lambda: state.remember("boards", _ALL if st.session_state[key] else None))  # fmt: skip


def _explain(boards: Sequence[Board]) -> None:
    """What each board is of, where its figures come from, and whether it may be held against ours."""
    rows: list[dict[str, Any]] = []
    for board in boards:
        if board.protocol is None:
            continue
        for line in board.protocol.lines:
            figures = ", ".join(
                f"{PUBLISHED_METRICS[key][0].partition(',')[0].lower()} {value:g}" for key, value in line.values.items()
            )
            rows.append(
                {
                    "board": board.protocol.title, "what": line.title, "figures": figures,
                    "comparable": board.protocol.comparable, "data": board.protocol.data, "split": board.protocol.split,
                    "num": board.protocol.num_images or None, "definition": board.protocol.definition,
                    "source": f"{line.source} (read in: {line.read_in})", "note": line.note, "url": line.url or None,
                }
            )  # fmt: skip
    text = st.column_config.TextColumn
    config: dict[str, Any] = {
        "board": text("Board", width=220), "what": text("Result", width=200), "figures": text("Figures", width=170),
        "comparable": text("Comparable?", width=300), "data": text("Images", width=200),
        "split": text("Split", width=200),
        "num": st.column_config.NumberColumn("Test images", format="%d"), "definition": text("Metric", width=200),
        "source": text("Source", width=260), "note": text("Note", width=200),
        "url": st.column_config.LinkColumn("Address", width=120),
    }  # fmt: skip
    alt = "What each published result was measured on, how, and whether it may be held against the runs"
    controls.show_table(rows, hide_index=True, alt=alt, column_config=config, placeholder="–")
    with st.expander("What was found about transfer", key="published_findings"):
        for words, source, url in FINDINGS:
            st.markdown(f"{plain(words, 400)} {f'[{plain(source)}]({url})' if url else plain(source)}")
