"""Before the start: what is trained, stage by stage, what the training will take, and which learning rate suits it.

Measurements run in a process of their own, started by a thread of this server; their results are kept on disk.
"""

import dataclasses
import html
import shlex
from typing import Any

import streamlit as st

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.experiment import resolve_start
from lib.figures.style import strategy_style
from lib.figures.training_charts import rate_range_figure, rate_range_text
from lib.models.freezing import StageParameters, stage_plan
from lib.progress import duration, size_words
from lib.training.config import TrainConfig
from lib.training.estimation import Estimate, kept_estimate
from lib.training.network import trained_part
from lib.training.rate_range import RateRange, rounded
from lib.training.strategies import STRATEGIES
from pages.common import background, controls
from pages.common.errors import show_errors
from pages.common.text import count, plain, plain_message

_RANGE_KEY = "train_rate_range"


def draw_before(config: TrainConfig) -> None:
    """An expander that is drawn only when it is open."""
    box = st.expander("Before the start: what it takes", key="train_before", on_change="rerun")
    if not box.open:
        return
    with box, show_errors("look ahead"):
        resolved, dataset = _resolved(config)
        if resolved is None:
            return
        plan = stage_plan(
            config.backbone, trained_part(resolved), resolved.unfreeze_from,
            feature_stage=resolved.feature_stage, head=resolved.head or "linear", output=resolved.output,
            num_classes=dataset.spec.num_classes,
        )  # fmt: skip
        _draw_counts(plan, config.strategy)
        _draw_estimate(config, resolved)
        if STRATEGIES.get(config.strategy).is_iterative:
            _draw_range(config)


def _resolved(config: TrainConfig) -> tuple[TrainConfig | None, Any]:
    try:
        dataset = open_dataset(config.dataset)
        return resolve_start(config, dataset), dataset
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
        return None, None


def _draw_counts(plan: list[StageParameters], strategy: str) -> None:
    trained = sum(stage.num_parameters for stage in plan if stage.is_trainable)
    total = sum(stage.num_parameters for stage in plan)
    st.markdown(f"**{trained:,} of {total:,} parameters are trained** ({100 * trained / max(total, 1):.1f}\u00a0%).")
    st.html(counts_html(plan, strategy))


def counts_html(plan: list[StageParameters], strategy: str) -> str:
    """A row a stage: its title, a bar as long as its share of the largest stage (filled if frozen), its parameters."""
    light, dark = (strategy_style(strategy, is_dark).color for is_dark in (False, True))
    largest = max((stage.num_parameters for stage in plan), default=1) or 1
    rows = "".join(_row(stage, 100 * stage.num_parameters / largest) for stage in plan)
    return f"""<style>
.tb {{ width: 100%; font-size: 14px; border-collapse: collapse; --tb: light-dark({light}, {dark}); }}
.tb td {{ padding: 2px 8px 2px 0; border: none; line-height: 1.25; }}
.tb td:nth-child(3) {{ text-align: right; font-variant-numeric: tabular-nums; }}
.tb td:nth-child(2) {{ width: 30%; }}
.tb span {{ display: block; height: 12px; min-width: 2px; border: 1.5px solid var(--tb); border-radius: 2px;
  box-sizing: border-box; }}
.tb span.frozen {{ background: var(--tb); }}
</style><table class="tb">{rows}</table>"""


def _row(stage: StageParameters, width: float) -> str:
    bar = f'<span class="{"" if stage.is_trainable else "frozen"}" style="width:{width:.1f}%"></span>'
    name = f"{stage.title} ({stage.stage})" if stage.stage != stage.title.lower() else stage.title
    word = "–" if not stage.num_parameters else "trained" if stage.is_trainable else "frozen"
    cells = (html.escape(name), bar, f"{stage.num_parameters:,}", word)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _draw_estimate(config: TrainConfig, resolved: TrainConfig) -> None:
    path = kept_estimate(resolved)
    name = f"estimate {path.stem}"
    found = background.kept_measurement(path, Estimate.from_dict)
    background.show_measurement_failure(name)
    if found is not None:
        st.markdown(estimate_words(found, resolved))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        label = "Measure time and memory"
        st.button(
            label, icon=":material/timer:", key="train_measure", disabled=background.is_measuring(name),
            on_click=background.start_measurement,
            args=(name, "Measuring three real steps …", ["estimate", *_arguments(config)]),
            help="Runs three real steps in a process of its own, and trains nothing.",
        )  # fmt: skip
    background.watch(name)


def estimate_words(found: Estimate, config: TrainConfig) -> str:
    """What a training will take, as Markdown."""
    parts = [f"start {duration(found.seconds_start)}"]
    if found.seconds_preprocessing:
        parts.append(f"preprocessing {duration(found.seconds_preprocessing)}")
    if found.seconds_features:
        parts.append(f"features {duration(found.seconds_features)}")
    epochs = f" ({count(found.epochs, 'epoch')} of {duration(found.epoch_s)})" if found.epochs else ""
    parts += [
        f"training {duration(found.seconds_training)}{epochs}",
        f"evaluation {duration(found.seconds_evaluation)}",
    ]
    memory = f"{found.peak_rss_mib / 1024:.1f} GiB of memory"
    if found.device_mib:
        memory += f", {found.device_mib / 1024:.1f} GiB on the GPU"
    words = f"**About {duration(found.seconds_total)} and {memory}**: {', '.join(parts)}. "
    words += f"From {count(found.num_steps_measured, 'measured step')}." if found.num_steps_measured else "Measured."
    if config.time_budget_s:
        words += f" The budget of {config.time_budget_s:g}\u00a0s becomes {count(found.epochs, 'epoch')}."
    if found.cache_mib:
        words += f" **The cache takes {size_words(found.cache_mib * 2**20)} more**: {plain(found.cache_why, 200)}."
    elif found.cache_why:
        words += f" The cache takes nothing more: {plain(found.cache_why, 200)}."
    return words


def _draw_range(config: TrainConfig) -> None:
    # The rate that the form has does not matter to the test, so the picture stays when the suggestion is taken over.
    name = f"rates {dataclasses.replace(config, learning_rate=None).to_command()}"
    task = background.find(name)
    if task is not None and task.is_over and task.result is not None:
        st.session_state[_RANGE_KEY] = (name, task.result)
        background.forget(name)
    background.show_measurement_failure(name)
    kept = st.session_state.get(_RANGE_KEY)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Find a learning rate", icon=":material/show_chart:", key="train_range",
            disabled=background.is_measuring(name), on_click=background.start_measurement,
            args=(name, "Trying learning rates …", ["lr-range", *_arguments(config)]),
            help="Trains about a hundred steps on a copy at ever larger rates (Smith 2015); the copy is thrown away.",
        )  # fmt: skip
        if kept and kept[0] == name and (rate := RateRange.from_dict(kept[1]).suggested_rate) is not None:
            st.button(
                f"Take {rounded(rate):g}", icon=":material/check:", key="train_take_rate", on_click=_take,
                args=(config.strategy, rounded(rate)),
            )  # fmt: skip
    background.watch(name)
    if kept and kept[0] == name:
        found = RateRange.from_dict(kept[1])
        figure = rate_range_figure(found, strategy=config.strategy, is_dark=controls.is_dark())
        controls.show_figure(figure, alt=rate_range_text(found), key="train_rate_range")
        st.caption(f"{rate_range_text(found)} Thin: single steps; thick: their running mean.")


def _take(strategy: str, rate: float) -> None:
    """Put the suggested rate into the form's field."""
    st.session_state[f"train_learning_rate_{strategy}"] = rate


def _arguments(config: TrainConfig) -> list[str]:
    """The options of the command that describe this training."""
    return shlex.split(config.to_command())[4:]
