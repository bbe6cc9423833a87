"""Keys that press buttons of the page, for whoever walks through images without a mouse."""

from collections.abc import Mapping

import streamlit as st

# In a text field a letter is a letter; in a table, a slider or a group of choices an arrow moves inside.
_SCRIPT = """
export default function ({ data }) {
  window.transferscopeKeys = data.keys;
  if (window.transferscopeListens) return;
  window.transferscopeListens = true;
  const texts = "input, textarea, select, [contenteditable=true]";
  const moving = "[role=grid], [role=slider], [role=listbox], [role=radiogroup], [role=tablist], [role=menu]";
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.target.closest?.(texts)) return;
    if (event.key.startsWith("Arrow") && event.target.closest?.(moving)) return;
    const name = (window.transferscopeKeys || {})[event.key];
    const button = name && document.querySelector(`.st-key-${name} button`);
    if (!button || button.disabled) return;
    event.preventDefault();
    button.click();
  });
}
"""


def listen(keys: Mapping[str, str]) -> None:
    """Let keys press buttons: name of the key in the browser ("ArrowRight", "j") to the `key` of the button."""
    component = st.components.v2.component("view_keyboard", js=_SCRIPT)
    component(key="view_keyboard", data={"keys": dict(keys)}, height=0)
