"""Measures this service beside the floors of its machine and beside its peers; see `python -m benchmarks --help`."""
