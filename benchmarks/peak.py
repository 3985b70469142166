"""The most memory that a run of the batch client has at any moment, as the kernel counts it for its process."""

import os
import subprocess
import sys
from collections.abc import Sequence

_RUN = """
import sys
from client.command import main
if __name__ == "__main__":
    status = main(sys.argv[1:])
    lines = open("/proc/self/status").read().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    sys.exit(status)
"""


def peak_memory(arguments: Sequence[str]) -> float:
    """In MB of 10⁶ bytes, of the client's own process; those of --local's workers hold one model each and no rows."""
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(ran.stdout.split()[-1]) * 1024 / 1e6
