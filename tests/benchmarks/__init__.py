"""Tests of the benchmarks, a file for each of its modules."""
