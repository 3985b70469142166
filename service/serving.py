"""Which versions are served, and what may become of that."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, Self

from service.errors import ModelError, VersionError
from service.manifest import folders, versions
from service.metrics import MOST_VERSIONS
from service.settings import Settings

LATEST = "latest"
_MOST_WAITING = 16  # changes


@dataclass(frozen=True)
class Serving:
    """The versions that are served.

    Attributes:
        current: the one that answers where none is named.
        beside: those that are served whichever is the current one, under their own paths.
        refused: why each of those that failed their checks did, by version.
    """

    current: str
    beside: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.versions) > MOST_VERSIONS:
            raise VersionError(f"at most {MOST_VERSIONS} versions are served at once: unload one first")

    @property
    def versions(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((self.current, *self.beside)))

    def after(self, change: "Change") -> Self:
        """What is served when a change is made.

        Raises:
            VersionError: it cannot be.
        """
        version = change.version
        if change.action == "load":
            refused = {other: reason for other, reason in self.refused.items() if other != version}
            if change.current:
                return replace(self, current=version, refused=refused)
            return replace(self, beside=tuple(dict.fromkeys((*self.beside, version))), refused=refused)
        if version == self.current:
            raise VersionError(f"version {version} answers what names no version: load another one first")
        if version not in self.beside:
            raise VersionError(f"version {version} is not loaded")
        return replace(self, beside=tuple(other for other in self.beside if other != version))

    def without(self, version: str, reason: str) -> Self:
        """The same, with why a version is refused."""
        return replace(self, refused={**self.refused, version: reason})


@dataclass(frozen=True)
class Change:
    """What is to become of one version: to be loaded, as the current one or beside it, or to be let go."""

    action: Literal["load", "unload"]
    version: str
    current: bool = True

    def as_json(self) -> dict[str, Any]:
        """As plain values, which `Change(**values)` takes."""
        return vars(self)


class Control(Protocol):
    """Makes changes, in all workers."""

    async def change(self, change: Change) -> None:
        """Makes a change, once those that are under way are made.

        Raises:
            VersionError: it is refused, and everything is as before.
        """


def check(change: Change, serving: Serving, settings: Settings, waiting: int) -> None:
    """Sees that a change can be begun, while so many wait.

    Raises:
        VersionError: it cannot.
    """
    if waiting >= _MOST_WAITING:
        raise VersionError(f"{waiting} changes wait already, and no more may")
    serving.after(change)
    if change.action == "load" and change.version not in folders(settings.models, settings.model_name):
        raise VersionError(f"there is no version {change.version} in the folder of models")


def first(settings: Settings) -> Serving:
    """What is served at first.

    Raises:
        ModelError: there is no version.
        VersionError: there are too many.
    """
    beside = settings.serve_versions.split(",") if settings.serve_versions else ()
    return Serving(newest(settings), tuple(beside))


def newest(settings: Settings) -> str:
    """The version of the settings, as a number.

    Raises:
        ModelError: there is no version.
    """
    if settings.model_version != LATEST:
        return settings.model_version
    found = versions(settings.models, settings.model_name)
    if not found:
        raise ModelError(f"{settings.models / settings.model_name} has no version with a manifest")
    return str(found[-1])
