"""`python -m service`: serves the model."""

import gc

# Next to nothing of what importing makes is garbage, and looking for it took a twelfth of the start.
gc.disable()

import sys  # noqa: E402

from service.command import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    status = main()
    try:
        sys.stderr.flush()
    except OSError:
        sys.stderr = None  # or Python tries again as it ends, and ends by 120 where only the log could not be written
    sys.exit(status)
