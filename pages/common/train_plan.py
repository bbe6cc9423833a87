"""The strategy cards of the training page: each with a bar of stages, frozen ones filled, trained ones outlined."""

import html
from collections.abc import Mapping, Sequence

import streamlit as st

from lib.figures.style import strategy_style
from lib.models.freezing import StageParameters
from lib.training.strategies import STRATEGIES, StrategySpec

DEFAULT_STRATEGY = "linear_probe"
# From frozen to from scratch in four steps; the others are behind one more click.
MAIN = ("linear_probe", "partial_finetuning", "full_finetuning", "from_scratch")
_NUMBERS = ("no", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")

StagePlan = Sequence[StageParameters]  # the head comes last


def current_strategy() -> StrategySpec:
    """The chosen strategy; the choice lives as long as the session."""
    chosen = st.session_state.get("train_strategy")
    return STRATEGIES.get(chosen if chosen in STRATEGIES else DEFAULT_STRATEGY)


def strategy_cards(plans: Mapping[str, StagePlan], chosen: StrategySpec, *, is_fundus: bool) -> None:
    """One card a strategy, four in sight; a click on a card chooses it. What is made for fundus is offered for that."""
    st.html(_style(chosen.name))
    st.html(
        '<div class="ts-legend"><span class="ts-key frozen"></span>frozen<span class="ts-key"></span>trained'
        '<span class="ts-flow">first stage → last stage, head</span></div>'
    )
    others = [
        one for one in STRATEGIES
        if one.name not in MAIN and (is_fundus or not one.is_for_fundus or one.name == chosen.name)
    ]  # fmt: skip
    with st.container(gap="xsmall"):
        for name in MAIN:
            _card(STRATEGIES.get(name), plans[name], is_chosen=name == chosen.name)
    count = _NUMBERS[len(others)] if len(others) < len(_NUMBERS) else str(len(others))
    # The key has what is chosen: a strategy that is chosen from elsewhere is in sight.
    is_open = chosen.name not in MAIN
    with st.expander(f"{count} more strategies", expanded=is_open, key=f"train_more_strategies_{is_open}"):
        for strategy in others:
            _card(strategy, plans[strategy.name], is_chosen=strategy.name == chosen.name)


def stage_bar(strategy: StrategySpec, plan: StagePlan) -> str:
    """HTML of the bar: a piece a stage, filled if frozen, outlined if trained, and after a gap the head."""
    stages = () if strategy.backbone else plan[:-1]  # features of its own source: there are no stages
    pieces = [f'<span class="ts-piece{"" if stage.is_trainable else " frozen"}"></span>' for stage in stages]
    pieces.append(f'<span class="ts-piece ts-head{" ts-memory" if strategy.remembers_images else ""}"></span>')
    return (
        f'<div class="ts-bar ts-{strategy.name}" role="img" '
        f'aria-label="{html.escape(bar_text(strategy, plan), quote=True)}">{"".join(pieces)}</div>'
    )


def bar_text(strategy: StrategySpec, plan: StagePlan) -> str:
    """What the bar shows, in words."""
    stages = plan[:-1]
    trained = [stage.title for stage in stages if stage.is_trainable]
    if strategy.backbone:
        return "No network: only the classifier is trained."
    head = "the head remembers the training images" if strategy.remembers_images else "the head is trained"
    if not trained:
        return f"All {len(stages)} stages are frozen; {head}."
    if len(trained) == len(stages):
        return f"All {len(stages)} stages are trained; {head}."
    return f"{len(stages) - len(trained)} of {len(stages)} stages are frozen, trained from {trained[0]} on; {head}."


def _card(strategy: StrategySpec, plan: StagePlan, *, is_chosen: bool) -> None:
    with st.container(key=f"train_card_{strategy.name}", border=True, gap=None):
        with st.container(horizontal=True, vertical_alignment="center", wrap=False, gap="small"):
            st.button(
                strategy.title,
                key=f"train_strategy_{strategy.name}",
                icon=f":material/radio_button_{'checked' if is_chosen else 'unchecked'}:",
                type="tertiary",
                width=186,
                on_click=lambda: st.session_state.update(train_strategy=strategy.name),
            )
            st.html(stage_bar(strategy, plan), width="stretch")
        st.html(f'<div class="ts-summary">{html.escape(strategy.summary)}</div>')


def _style(chosen: str) -> str:
    # `light-dark` follows the theme by itself: Streamlit sets the page's color-scheme.
    colors = ""
    for name in STRATEGIES.names:
        light, dark = (strategy_style(name, is_dark).color for is_dark in (False, True))
        colors += f".ts-{name} {{ --ts: light-dark({light}, {dark}); }}\n"
    # The button's ::after covers its card: the whole card is the target, and the keyboard still finds a button.
    return f"""<style>
[class*="st-key-train_card_"] {{ --accent: light-dark(#0F766E, #2DD4BF); position: relative; padding: 6px 12px; }}
[class*="st-key-train_card_"]:hover {{ border-color: var(--accent); }}
.st-key-train_card_{chosen} {{ border-color: var(--accent); box-shadow: inset 3px 0 0 var(--accent); }}
[class*="st-key-train_card_"] button {{ position: static; min-height: 24px; padding: 0; justify-content: start; }}
[class*="st-key-train_card_"] button > div {{ width: 100%; justify-content: start; }}
[class*="st-key-train_card_"] button p {{ font-weight: 600; }}
[class*="st-key-train_card_"] button::after {{ content: ""; position: absolute; inset: 0; border-radius: 8px; }}
[class*="st-key-train_card_"] button:focus-visible::after {{ outline: 2px solid var(--accent); }}
.ts-summary {{ font-size: 14px; line-height: 1.25; opacity: .8; }}
.ts-legend {{ display: flex; align-items: center; gap: 6px; font-size: 14px; opacity: .85; }}
.ts-flow {{ margin-left: auto; }}
.ts-key {{ width: 18px; height: 10px; border: 1.5px solid currentColor; border-radius: 2px; margin-left: 8px; }}
.ts-key:first-child {{ margin-left: 0; }}
.ts-key.frozen {{ background: currentColor; }}
.ts-bar {{ display: flex; gap: 2px; height: 12px; margin: 4px 0 5px; }}
.ts-piece {{ flex: 1; border: 1.5px solid var(--ts); border-radius: 2px; box-sizing: border-box; }}
.ts-piece.frozen {{ background: var(--ts); }}
.ts-piece.ts-head {{ flex: 0 0 28px; margin-left: 6px; border-radius: 6px; }}
.ts-piece.ts-memory {{ border-style: dotted; }}
{colors}</style>"""
