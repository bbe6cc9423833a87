"""Draws `data/samples/`, the images to try the grade page with: `python -m tests.make_samples`."""

from lib.demo.samples import SAMPLES_FOLDER, write_samples

__all__ = ["SAMPLES_FOLDER", "write_samples"]

if __name__ == "__main__":
    write_samples()
