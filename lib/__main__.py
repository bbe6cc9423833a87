"""`python -m lib`: the command line."""

import gc

from lib.cli import main

if __name__ == "__main__":
    # Importing torch and MLflow makes a million objects that all stay; looking through them again and again for garbage
    # takes a second of seven.
    gc.set_threshold(100_000, 50, 50)
    main()
