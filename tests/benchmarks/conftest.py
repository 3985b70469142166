"""What the tests of the benchmarks take from those of training: real digits, a network, a small data set."""

from tests.training.conftest import digits, network, small

__all__ = ["digits", "network", "small"]
