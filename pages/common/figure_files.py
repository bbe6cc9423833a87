"""A figure as a file: PNG or SVG, made in the browser by Plotly itself, so that it works without a network.

The chart's own toolbar has one format; these buttons set the format and press its button.
"""

import streamlit as st

from lib.figures.style import palette

_HTML = '<button data-format="png">PNG</button><button data-format="svg">SVG</button>'
_CSS = """
:host, body { margin: 0; }
button { font: inherit; font-size: 0.875rem; line-height: 1.6; padding: 0.25rem 0.5rem; margin: 0; cursor: pointer;
  color: var(--st-text-color); background: transparent; border: none; border-radius: 0.5rem; }
button:hover { color: var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); }
"""
# On paper the picture has the page's background: it has none of its own. Plotly copies layout and options at the click.
_SCRIPT = """
export default function ({ data, parentElement }) {
  for (const button of parentElement.querySelectorAll("button")) {
    button.setAttribute("aria-label", `Save the picture as ${button.textContent}`);
    button.onclick = () => {
      const graph = document.querySelector(`.st-key-${data.key.replace(/[^a-zA-Z0-9_-]/g, "-")} .js-plotly-plot`);
      const save = graph?.querySelector('.modebar-btn[data-attr="toImage"], .modebar-btn');
      if (!save) return;
      const options = graph._context.toImageButtonOptions, layout = graph.layout;
      const format = options.format, background = layout.paper_bgcolor;
      options.format = button.dataset.format;
      layout.paper_bgcolor = data.background;
      try { save.click(); } finally {
        options.format = format;
        layout.paper_bgcolor = background;
      }
    };
  }
}
"""


def picture_buttons(key: str, *, is_dark: bool) -> None:
    """Two buttons that save the chart with this key as PNG (twice its size) or SVG."""
    component = st.components.v2.component("figure_files", html=_HTML, css=_CSS, js=_SCRIPT)
    component(
        key=f"{key}_files", data={"key": key, "background": palette(is_dark=is_dark).background}, width="content",
        height="content",
    )  # fmt: skip
