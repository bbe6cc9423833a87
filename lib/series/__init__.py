"""One process that writes several runs, one after the other: watched, stopped and taken up again as a whole."""

from lib.series.state import SeriesFiles, SeriesState, as_dict, read_series, run_state, write_series

__all__ = ["SeriesFiles", "SeriesState", "as_dict", "read_series", "run_state", "write_series"]
