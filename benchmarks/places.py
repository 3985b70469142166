"""Results name no folder of the machine that measured them."""

import sys

from benchmarks.digits import ROOT


def without_places(text: str) -> str:
    """A text without the folders of this repository, of its environment and of its Python."""
    for place in (sys.prefix, sys.base_prefix, str(ROOT)):  # the environment first: it may lie in the repository
        text = text.replace(f"{place}/", "")
    return text
