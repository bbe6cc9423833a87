"""Building blocks of every page, so that all of them look and speak alike."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import streamlit as st

from lib.csv_text import csv_of_table, harmless, harmless_table
from lib.errors import UserError
from lib.figures.figure_data import figure_table
from pages.common import state
from pages.common.figure_files import picture_buttons
from pages.common.page_table import PAGES_FOLDER
from pages.common.text import plain, plain_message, readable

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_logger = logging.getLogger("transferscope.pages")


def page_header(title: str, sentence: str, *, is_low: bool = False) -> None:
    """Title (a verb and a noun) and the one sentence that says what the page answers; `is_low` puts it beside."""
    with st.container(horizontal=is_low, vertical_alignment="bottom" if is_low else "top"):
        st.title(title, anchor=False, width="content" if is_low else "stretch")
        st.markdown(sentence)


def link_to(
    name: str,
    label: str,
    *,
    icon: str | None = None,
    help: str | None = None,
    width: Any = "content",
    **view: str | None,
) -> None:
    """A link to another page that keeps data set and backbone; the label may hold Markdown, so escape names in it."""
    query = state.link_parameters(**view)
    st.page_link(str(PAGES_FOLDER / f"{name}.py"), label=label, icon=icon, help=help, width=width, query_params=query)


def button_to(name: str, label: str, *, icon: str | None = None, is_primary: bool = False, **view: str | None) -> None:
    """A link to another page that looks like a button.

    A button that opens a page by `st.switch_page` would make two entries of the browser's history, and Back would stop
    between them.
    """
    kind = "primary" if is_primary else "secondary"
    with st.container(key=f"link_{kind}_{name}_{label.replace(' ', '_')}", width="content"):
        link_to(name, label, icon=icon, **view)


def empty_state(message: str, *, button: str = "", page: str = "", icon: str = ":material/info:") -> None:
    """Say what to do next, and offer it as a link that opens a page."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(message, text_alignment="center")
        if button:
            button_to(page, button, icon=icon, is_primary=True)


def say_gone(dataset: str) -> None:
    """The data set of the view is not in the library: a sentence, and nobody is led to another one unasked."""
    empty_state(
        f"There is no data set **{plain(dataset)}** (any more): it was deleted or renamed elsewhere, or the link is of "
        "another machine. Choose another one in the sidebar, or import it under Explore data."
    )


def is_dark() -> bool:
    """Whether the person's theme is the dark one."""
    return st.context.theme.type == "dark"


def show_figure(figure: "go.Figure", *, alt: str, key: str, data: "pd.DataFrame | None" = None) -> None:
    """Draw a figure of lib.figures with its alternative text; below it PNG, SVG, and its data as CSV.

    `data` are the numbers behind it, by default those that stand in it.
    """
    st.plotly_chart(figure, theme=None, key=key, alt=alt, config=_figure_config(key))
    _offer_files(figure, key, data)


def show_clickable_figure(
    figure: "go.Figure", *, alt: str, key: str, on_click: Callable[[list[Any]], None] | None = None
) -> list[Any]:
    """As `show_figure`, of points that can be clicked on; returns the `customdata` of the chosen ones.

    `on_click` is called with them after a click, before the page is drawn anew, as it must be for a step in the view.
    """

    def clicked() -> None:
        if on_click is not None and (chosen := _chosen_points(st.session_state[key])):
            on_click(chosen)

    event = st.plotly_chart(
        figure, theme=None, key=key, alt=alt, config=_figure_config(key), selection_mode="points",
        on_select=clicked if on_click else "rerun",
    )  # fmt: skip
    _offer_files(figure, key, None)
    return _chosen_points(event)


def show_range_figure(
    figure: "go.Figure",
    *,
    alt: str,
    key: str,
    data: "pd.DataFrame",
    on_range: Callable[[tuple[float, float] | None], None],
) -> None:
    """As `show_figure`, of bars along x, over which a person drags to choose a range.

    `on_range` is called with the range, or with None where nothing is chosen any more, before the page is drawn anew.
    """

    def chosen() -> None:
        boxes = st.session_state[key].selection.get("box") or []
        ends = [float(end) for end in boxes[0]["x"]] if boxes else []
        on_range((min(ends), max(ends)) if ends else None)

    st.plotly_chart(
        figure, theme=None, key=key, alt=alt, config=_figure_config(key), selection_mode="box", on_select=chosen
    )
    _offer_files(figure, key, data)


def _chosen_points(event: Any) -> list[Any]:
    """The `customdata` of the points of a selection."""
    found = [point.get("customdata") for point in event.selection.points]
    # Streamlit makes a dictionary of the row: {"0": first, "1": second}.
    return [list(values.values()) if isinstance(values, dict) else values for values in found if values]


def _offer_files(figure: "go.Figure", key: str, data: "pd.DataFrame | None") -> None:
    """A quiet row below a figure: the picture in two formats, and its numbers."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        picture_buttons(key, is_dark=is_dark())
        download_csv((lambda: figure_table(figure)) if data is None else data, key=key)


def _figure_config(key: str) -> dict[str, Any]:
    image = {"filename": f"transferscope_{key}", "format": "png", "scale": 2}
    return {"displaylogo": False, "modeBarButtons": [["toImage"]], "toImageButtonOptions": image}


def download_csv(data: "pd.DataFrame | Callable[[], pd.DataFrame]", *, key: str, label: str = "Data as CSV") -> None:
    """A quiet button that downloads a table, or what makes one when it is pressed."""
    st.download_button(
        label,
        lambda: csv_of_table(data() if callable(data) else data),
        file_name=f"transferscope_{key}.csv",
        mime="text/csv",
        key=f"{key}_csv",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def copy_command(command: str) -> None:
    """What gives the same on the command line, to be copied."""
    with st.popover("Copy as command", icon=":material/terminal:", type="tertiary"):
        st.code(command, language="bash", wrap_lines=True)


def show_table(data: Any, *, column_config: dict[str, Any] | None = None, **options: Any) -> Any:
    """`st.dataframe` of a table whose cells a person may copy or download without harm, with its own options."""
    import pandas as pd

    config = {harmless(name): column for name, column in (column_config or {}).items()}
    return st.dataframe(harmless_table(pd.DataFrame(data)), column_config=config, **options)


def choose(
    label: str,
    titles: Mapping[str, str],
    view_key: str,
    *,
    key: str = "",
    value: str | None = "",
    unknown: str = "",
    keep: Callable[[str], None] | None = None,
    is_segmented: bool = False,
    **options: Any,
) -> str:
    """Draw a choice of one that is kept in the view (session and address): a link holds it, and Back undoes it.

    Args:
        label: above it.
        titles: what the view keeps -> what is read; "" is kept as nothing.
        view_key: one of `state.KEYS`.
        key: of the widget.
        value: what is chosen now; by default what the view says or else the first one; None for nothing.
        unknown: a sentence for a value of the view that is none of these; {} stands for it.
        keep: what to do with a choice, by default `state.remember`.
        is_segmented: whether all are in sight side by side, instead of in a box.
        options: of the widget.

    Returns:
        The chosen one, "" where nothing is.
    """
    key, given = key or f"choice_{view_key}", state.current(view_key)
    if value == "":
        value = given if given in titles else next(iter(titles))
    if unknown and given and given not in titles:
        st.warning(unknown.format(plain(given, 40)))
    st.session_state[key] = value

    def chosen() -> str:
        return str(st.session_state[key] or "")

    own = {"required": True} if is_segmented else {"placeholder": "None"}
    draw = st.segmented_control if is_segmented else st.selectbox
    draw(
        label, list(titles), key=key, format_func=lambda name: readable(titles.get(name, name)),
        on_change=lambda: keep(chosen()) if keep else state.remember(view_key, chosen() or None), **own, **options,
    )  # fmt: skip
    return chosen()


def choose_stage(backbone: str, *, key: str, only_maps: bool = True) -> str:
    """Pick a stage of a backbone; starts at the link's stage, else at the one that class activation maps use."""
    from lib.models.backbones import BACKBONES

    spec = BACKBONES.get(backbone)
    titles = {stage.name: stage.label for stage in spec.stages if stage.has_places or not only_maps}
    wanted = state.current_stage()
    stage = str(wanted) if wanted in titles else spec.shown_stage
    state.settle("stage", stage)
    help_text = "A named part of the network; earlier stages see simpler patterns."
    return choose("Stage", titles, "stage", key=key, value=stage, help=help_text)


def choose_run(labels: dict[str, str], *, key: str, label: str = "Run", is_known: bool = True) -> str | None:
    """Pick one of at least one runs (id -> label); starts at the link's run if it is among them, else at the first.

    A run of the link that is not even known (`is_known`) was deleted, or the link is of another machine: then nobody is
    led to another one unasked, and there is none until one is chosen.
    """
    wanted = state.current_run() or ""
    found = next((run for run in labels if wanted and run.startswith(wanted)), None)
    is_gone = bool(wanted) and found is None and not is_known
    if is_gone:
        st.warning(f"There is no run {plain(wanted[:12])} (any more). Choose another one.")
    elif wanted and found is None:
        st.warning(f"The run {plain(wanted[:12])} of the link is not among these; showing the first one.")
    chosen = None if is_gone else found or next(iter(labels))
    if chosen:
        state.settle("run", chosen)
    return choose(label, labels, "run", key=key, value=chosen, help="A finished training.") or None


_RULE_HELP = (
    "Off: the most probable class. On: the mean grade, weighted by the probabilities and cut at limits that were "
    "fitted in validation for the best kappa. The two can differ."
)


def choose_rule(limits: Any, *, key: str) -> bool:
    """Whether the expected grade decides, where a run has limits for it; else the most probable class does.

    One choice for all pages, kept in the view.
    """
    if not limits:
        return False
    st.session_state[key] = state.current("rule") == "expected"
    return st.toggle(
        "Decide by the expected grade",
        key=key,
        help=_RULE_HELP,
        on_change=lambda: state.remember("rule", "expected" if st.session_state[key] else None),
    )


@contextmanager
def keep_error(place: str, what: str) -> Iterator[None]:
    """Callbacks run before the page is drawn: keep what went wrong for `show_kept_error` at that place."""
    try:
        yield
    except UserError as error:
        st.session_state[f"kept_error_{place}"] = plain_message(error)
    except Exception:
        _logger.exception("could not %s", what)
        st.session_state[f"kept_error_{place}"] = f"Could not {what}; the server's log has the details."


def show_kept_error(place: str) -> None:
    """The sentence of `keep_error`, once; nothing where all went well."""
    if message := st.session_state.pop(f"kept_error_{place}", None):
        st.error(message, icon=":material/error:")


def offer_undo(kind: str, name: str, restore: Callable[[], Any], word: str = "Deleted") -> None:
    """Remember that something was deleted (or what `word` says), so that `show_undo` can offer to take it back."""
    st.session_state[f"undo_{kind}"] = (name, restore, word)


def show_undo(kind: str) -> None:
    """After a deletion: say so, and offer to take it back; nothing otherwise."""
    entry = st.session_state.get(f"undo_{kind}")
    if entry is None:
        return
    name, restore, word = entry
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f"{word} {plain(name)}.")
        if st.button("Undo", icon=":material/undo:", key=f"undo_{kind}_button"):
            del st.session_state[f"undo_{kind}"]
            restore()
            st.rerun()
        if st.button("Dismiss", type="tertiary", key=f"undo_{kind}_dismiss"):
            del st.session_state[f"undo_{kind}"]
            st.rerun()
