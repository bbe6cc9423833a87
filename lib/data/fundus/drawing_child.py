"""A child process of `generation`: draws its share of a set and prints one line, index and flags, for each image."""

import sys
from pathlib import Path

from lib.data.fundus.generation import plan_files, write_photograph


def main(arguments: list[str]) -> None:
    """Arguments: folder, images a grade, size, seed, with lesions (0 or 1), share, number of shares."""
    folder = Path(arguments[0])
    per_class, size_px, seed, with_lesions, share, num_shares = (int(value) for value in arguments[1:])
    files = plan_files(per_class=per_class, seed=seed)
    for index in range(share, len(files), num_shares):
        flags = write_photograph(folder, files[index], size_px=size_px, with_lesions=bool(with_lesions))
        # Ends this process with an error when the parent is gone.
        sys.stdout.write(f"{index} {flags}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
