"""The readers of the sources, each in a file with its entry."""
