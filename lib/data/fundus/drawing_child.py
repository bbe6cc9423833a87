"""A child process of `generation`: draws its share of a set and prints one line, index and flags, for each image."""

import os
import signal
import sys
from pathlib import Path

from lib.data.fundus.generation import Spoiling, plan_files, write_photograph


def main(arguments: list[str]) -> None:
    """Arguments: folder, images a grade, size, seed, with lesions (0 or 1), share and kinds of ungradable images, the
    child's share of the drawing, number of shares.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    folder = Path(arguments[0])
    per_class, size_px, seed, with_lesions = (int(value) for value in arguments[1:5])
    share, num_shares = (int(value) for value in arguments[7:])
    spoiling = Spoiling(float(arguments[5]), tuple(arguments[6].split(",")))
    files = plan_files(per_class=per_class, seed=seed, spoiling=spoiling)
    for index in range(share, len(files), num_shares):
        flags = write_photograph(folder, files[index], size_px=size_px, with_lesions=bool(with_lesions))
        try:
            sys.stdout.write(f"{index} {flags}\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
