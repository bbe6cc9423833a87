"""What a transfer keeps, cuts off and trains: three drawings of one network, and its stages as a table."""

import html
import math
from typing import TYPE_CHECKING

import streamlit as st

from lib.figures.style import strategy_style
from lib.models.backbones import BACKBONES
from pages.common import controls, resources, state
from pages.common.page_table import LINK_MARK
from pages.common.text import plain
from pages.inside.scene import Scene

if TYPE_CHECKING:
    from lib.explain.architecture import Drawing, StageBox

_CUT = "inside_cut"
# Whose colour a drawing has, as on every page; the original network is no strategy.
_COLORS = ("", "linear_probe", "partial_finetuning")
_PICTURE_PX, _LEAST_PX = 56, 8
_HEAD_SHARE = 2.4  # of the width, where a stage of 32 channels has 2.25
_MAX_LEVEL = 13  # more names than these stand upright


def draw(scene: Scene) -> None:
    """The view."""
    from lib.explain.architecture import transfer_drawings

    spec = scene.network.spec
    if not any(stage.has_places for stage in spec.stages):
        controls.empty_state(f"{plain(spec.title)} is no network of stages: there is nothing to cut or to train on.")
        return
    names = [stage.name for stage in spec.stages_until(spec.feature_stage)]
    first, second = st.columns([3, 7], vertical_alignment="bottom")
    with first:
        cut = _choose_cut(names)
    num_classes, task = _task()
    with second:
        st.html(_legend())
    shapes, fields = _shapes(spec.name, spec.input_size_px)
    drawings = transfer_drawings(spec, shapes, num_classes=num_classes, unfreeze_from=cut)
    for drawing, strategy in zip(drawings, _COLORS, strict=True):
        st.html(_drawing_html(drawing, strategy, task if drawing is not drawings[0] else "", fields))
    st.caption(
        f"From the image ({spec.input_size_px} × {spec.input_size_px} pixels) on the left to the answer on the right. "
        "Height: places of a stage; width: channels. A click on a stage shows what it sees in the image."
    )
    _draw_table(drawings[2], fields, spec.name)


def _choose_cut(names: list[str]) -> str:
    spec = BACKBONES.get(state.current_backbone())
    wanted, usual = state.current("cut"), spec.unfreeze_from if spec.unfreeze_from in names else names[-1]
    titles = {name: name for name in names} | {one.name: one.label for one in spec.stages if one.name in names}
    return controls.choose(
        "Fine-tune from", titles, "cut", key=_CUT, value=wanted if wanted in names else usual,
        unknown="There is no stage {} to fine-tune from; showing the usual one.",
        help="The first stage that goes on learning; those before it stay as they are.",
    )  # fmt: skip


def _task() -> tuple[int, str]:
    """How many classes the new head has, and of what: those of the data set of the sidebar."""
    spec = resources.find_spec(state.current_dataset())
    return (spec.num_classes, spec.title) if spec else (2, "two classes")


@st.cache_data(max_entries=32, show_spinner="Measuring the stages …")
def _shapes(backbone: str, input_size_px: int) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    from lib.explain.architecture import stage_shapes
    from lib.models.receptive_field import receptive_fields

    weights = "pretrained" if resources.weights_at_hand().get(backbone, False) else "random"
    network = resources.cached_network(backbone, weights)
    fields = receptive_fields(network, input_size_px)
    seen = {name: f"{field.size_px}" if field.is_local else "the image" for name, field in fields.items()}
    return stage_shapes(network, input_size_px), seen


def _drawing_html(drawing: "Drawing", strategy: str, task: str, fields: dict[str, str]) -> str:
    boxes = "".join(_box_html(box, task, fields.get(box.name, ""), with_shape=not strategy) for box in drawing.boxes)
    if not strategy:  # room for the head that the others have, so that a stage stands above itself
        boxes += f'<span class="ts-stage" style="flex:{_HEAD_SHARE} 1 0"></span>'
    light, dark = (strategy_style(strategy, is_dark).color for is_dark in (False, True))
    crowded = " ts-crowded" if len(drawing.boxes) > _MAX_LEVEL else ""
    return (
        f'{_STYLE}<div class="ts-surgery{crowded}" style="--ts:light-dark({light},{dark})">'
        f"<div><b>{html.escape(drawing.title)}</b> "
        f'<span style="opacity:.8">{html.escape(drawing.sentence)}</span></div>'
        f'<div class="ts-row">{boxes}</div></div>'
    )


def _box_html(box: "StageBox", task: str, field: str, *, with_shape: bool) -> str:
    # Heights and widths by logarithms: from 224 places a side to one, from three channels to thousands.
    places = box.shape[1] if len(box.shape) == 3 else 1
    height = _LEAST_PX + (_PICTURE_PX - _LEAST_PX) * math.log2(max(places, 1)) / 8
    is_head = box.name == "head"
    share = _HEAD_SHARE if is_head else 1 + math.log2(max(1, box.shape[0] if box.shape else 1)) / 4
    words = f"{box.title}: {box.shape_words}, {box.num_parameters:,} parameters, {box.state}"
    words += f", a place sees {field}{' px' * field.isdigit()}" if field else ""
    words += f", for {task}" if is_head and task else ""
    inner = (
        f'<span class="ts-block {box.state.replace(" ", "-")}" style="height:{min(height, _PICTURE_PX):.0f}px"></span>'
        f'<span class="ts-name">{"new head" if is_head else html.escape(box.name)}</span>'
    ) + (f'<span class="ts-shape">{html.escape(box.short_shape)}</span>' if with_shape else "")
    title, style = html.escape(words, quote=True), f"flex:{share:.2f} 1 0"
    if is_head:
        return f'<span class="ts-stage" style="{style}" title="{title}">{inner}</span>'
    link = html.escape(state.page_link("look_inside", view="stages", stage=box.name), quote=True)
    return f'<a {LINK_MARK}="" href="{link}" class="ts-stage" style="{style}" title="{title}">{inner}</a>'


def _legend() -> str:
    return (
        f'{_STYLE}<div class="ts-surgery ts-keys"><span class="ts-block kept"></span>kept as it is'
        '<span class="ts-block trained"></span>trained<span class="ts-block cut-off"></span>cut off</div>'
    )


def _draw_table(drawing: "Drawing", fields: dict[str, str], backbone: str) -> None:
    import pandas as pd

    rows = [
        {
            "Stage": box.name, "Title": box.title, "Output shape": box.shape_words, "Parameters": box.num_parameters,
            "Trainable": box.state == "trained",
        }
        | ({"A place sees, px": fields[box.name]} if box.name in fields else {})
        for box in drawing.boxes
        if box.state != "cut off"
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    st.markdown(f"**The stages, with fine-tuning as drawn.** {drawing.num_parameters:,} parameters.")
    controls.show_table(
        table, hide_index=True, column_config={"Parameters": st.column_config.NumberColumn(format="localized")}
    )
    controls.download_csv(table, key=f"stages_{backbone.replace(':', '_')}", label="Table as CSV")


_STYLE = """<style>
.ts-surgery { font-size: 15px; line-height: 1.35; }
.ts-row { display: flex; align-items: flex-end; gap: 4px; margin-top: 8px; }
.ts-stage { display: flex; flex-direction: column; align-items: stretch; min-width: 0; color: inherit !important;
  text-decoration: none !important; }
.ts-block { display: block; border: 2px solid var(--ts, currentColor); border-radius: 3px; box-sizing: border-box; }
.ts-block.kept { background: var(--ts, currentColor); }
.ts-block.cut-off { border: 2px dashed color-mix(in srgb, currentColor 45%, transparent); }
a.ts-stage:hover .ts-block { outline: 2px solid var(--st-primary-color, #0F766E); outline-offset: 1px; }
.ts-name, .ts-shape { font-size: 14px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  text-align: center; }
.ts-name { margin-top: 4px; font-weight: 600; }
.ts-shape { opacity: .75; font-size: 12px; }
.ts-crowded .ts-name { writing-mode: vertical-rl; align-self: center; text-align: start; height: 60px; }
.ts-crowded .ts-shape { display: none; }
.ts-crowded:not(:has(.ts-shape)) .ts-name { display: none; }
.ts-keys { display: flex; align-items: center; gap: 8px; padding-bottom: 8px; }
.ts-keys .ts-block { width: 22px; height: 14px; margin-left: 12px; }
</style>"""
