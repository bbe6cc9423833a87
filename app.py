"""The dashboard: `streamlit run app.py`."""

from pages.common.frame import run_frame

run_frame()
