"""The results board: all runs as the rows of one table, and what a person may do with them. Imports no torch."""

from lib.board.reading import Board, read_board, summarise_pending

__all__ = ["Board", "read_board", "summarise_pending"]
