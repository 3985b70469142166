"""What a benchmark can fail by."""


class BenchmarkError(Exception):
    """Something could not be measured; the sentence says why. No figure is ever put in its place."""
