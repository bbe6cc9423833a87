"""Form fields in two columns, row by row: fields of one row stand level, whatever their number."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


class SettingGrid:
    """Hands out cells: left, right, and then the next row."""

    def __init__(self) -> None:
        """Start with an empty row, at the current place of the page."""
        self._place = st.container()
        self._free: list[DeltaGenerator] = []

    def cell(self) -> DeltaGenerator:
        """The place of the next field."""
        if not self._free:
            with self._place:
                self._free = list(st.columns(2))
        return self._free.pop(0)
