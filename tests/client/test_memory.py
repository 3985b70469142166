"""A long run needs no more memory than a short one; benchmarks.batch has the figures for a million inputs."""

from pathlib import Path

import numpy as np

from benchmarks.peak import peak_memory
from tests.conftest import Mnist
from tests.service.serving import Process


def test_memory_does_not_grow_with_the_inputs(server: Process, tmp_path: Path, mnist: Mnist) -> None:
    """Eight times as many digits, 31 MB more of them, raise the most memory by less than a tenth."""
    peaks = []
    for count in (6000, 48_000):
        np.save(tmp_path / "x.npy", np.resize(mnist.images, (count, 28, 28)))
        flags = ("--url", server.url, "--output", str(tmp_path / "x.parquet"))
        peaks.append(peak_memory([str(tmp_path / "x.npy"), *flags]))
    assert peaks[1] < 1.1 * peaks[0]
