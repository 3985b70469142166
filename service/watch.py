"""The folder of a model's versions, looked at again and again for what is new in it."""

from service.manifest import MANIFEST_FILE, versions
from service.settings import Settings

INTERVAL = 2.0
"""Seconds between two looks."""

_Trace = tuple[tuple[str, int, int], ...]
"""Name, size and time of change in nanoseconds of each file of a version that decides what it answers."""


class Watch:
    """What was there at the last look."""

    def __init__(self, settings: Settings, current: str) -> None:
        """What is newer than the current version has yet to be seen."""
        self._settings = settings
        self._seen = {version: trace for version, trace in self._look().items() if int(version) <= int(current)}

    def newer(self, current: str) -> str | None:
        """The newest version, if it is new or another since the last look, and not older than the current one.

        One that was refused comes again when any of its files has changed: it may have been half copied.
        """
        before, self._seen = self._seen, self._look()
        newest = max(self._seen, key=int, default=None)
        if newest is None or int(newest) < int(current) or self._seen[newest] == before.get(newest):
            return None
        return newest

    def _look(self) -> dict[str, _Trace]:
        models, name = self._settings.models, self._settings.model_name
        verified = [str(version) for version in versions(models, name)]
        return {version: self._trace(version) for version in verified}

    def _trace(self, version: str) -> _Trace:
        folder = self._settings.models / self._settings.model_name / version
        try:
            files = [
                path for path in folder.iterdir() if path.suffix in (".onnx", ".sig") or path.name == MANIFEST_FILE
            ]
            return tuple(sorted((path.name, (found := path.stat()).st_size, found.st_mtime_ns) for path in files))
        except OSError:  # it goes away just now
            return ()
