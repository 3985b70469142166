"""All hostile requests, as cases for a test and as files for a fuzzer to begin with."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.bodies import fields, frames, packed, texts, uploads
from tests.hostile.case import Case
from tests.hostile.chunks import pngs
from tests.hostile.pictures import damaged, every_format, lying_sizes, much_work, tiff_tags, two_things


def corpus() -> Iterator[Case]:
    """Each with a name of its own."""
    for made in (
        every_format,
        damaged,
        two_things,
        lying_sizes,
        tiff_tags,
        much_work,
        pngs,
        texts,
        fields,
        frames,
        packed,
        uploads,
    ):
        yield from made()


def write(folder: Path, path: str, longest: int) -> None:
    """The bodies for one path, but for those that are too long to be changed byte by byte."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in corpus():
        if case.path == path and len(case.body) <= longest:
            (folder / hashlib.sha256(case.body).hexdigest()[:16]).write_bytes(case.body)


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2], 8192)
