"""The terminal that a process was started from."""

import os


def has_terminal() -> bool:
    """Whether this process has a terminal. SIGHUP tells those that had one that it is gone."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True
