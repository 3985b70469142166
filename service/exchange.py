"""Versions opened beside what serves, and swapped in whole."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import structlog

from service.candidate import open_version
from service.engine import Engine
from service.mending import mend
from service.predictor import Predictor
from service.serving import Change, Serving
from service.state import Served, State
from service.workshop import Workshop

_log = structlog.get_logger("digitscope")


class _Opened(NamedTuple):
    """An open engine and the one thread that it was opened in."""

    engine: Engine
    executor: ThreadPoolExecutor

    @property
    def digest(self) -> str:
        """Of the manifest, and so of all that it promises."""
        return hashlib.sha256(self.engine.manifest.model_dump_json().encode()).hexdigest()


class Exchange:
    """What one process serves, and the change that it prepares.

    A version is opened in a thread while the others answer. What is served changes by one assignment on the event loop:
    a request holds on to the predictor that it began with, and that one is let go with the last of them.

    Attributes:
        serving: which versions are served, by number.
    """

    def __init__(self, state: State, serving: Serving, swapped: Callable[[Served], None]) -> None:
        """`swapped` is called when other versions are served than before, and before anything else happens."""
        self.serving = serving
        self._state = state
        self._swapped = swapped
        self._workshop = Workshop(state.settings.max_wait / 1e3, state.unsent.check)
        self._mending: asyncio.Task[None] | None = None
        self._prepared: tuple[Change, _Opened | None] | None = None

    async def start(self) -> None:
        """Opens what is to be served at first.

        Raises:
            ModelError: a version is not what its manifest says.
            ProviderError: the provider asked for by name cannot be used.
        """
        opened = {version: await self._open(version) for version in self.serving.versions}
        self._state.metrics.served = self.serving.versions
        self._serve({version: self._predictor(each) for version, each in opened.items()})
        for each in opened.values():
            self._report(each.engine)
        self._mending = asyncio.ensure_future(mend(self._state))

    def end(self) -> None:
        """Lets go of everything."""
        if self._mending is not None:
            self._mending.cancel()
        self._workshop.close()
        self._state.served = None

    async def prepare(self, change: Change) -> str:
        """Opens the version that a change needs; returns what is the same in all processes that opened the same.

        Raises:
            VersionError: what the change is of is not served, or cannot be.
            ModelError: the version is not what its manifest says, or may not be served.
            ProviderError: the provider asked for by name cannot be used.
        """
        self.serving.after(change)
        self._prepared = None
        opened = await self._open(change.version) if change.action == "load" else None
        self._prepared = (change, opened)
        return opened.digest if opened else ""

    def commit(self) -> None:
        """Makes the change that was prepared."""
        assert self._prepared  # noqa: S101 — nobody makes what was not prepared
        (change, opened), self._prepared = self._prepared, None
        self.serving = self.serving.after(change)
        self._state.metrics.served = self.serving.versions
        predictors = dict(self._state.open.versions)
        if opened:
            predictors[change.version] = self._predictor(opened)
            self._report(opened.engine)
        else:
            _log.info("model let go", model=self._state.settings.model_name, version=change.version)
        self._serve({version: predictors[version] for version in self.serving.versions})

    def drop(self, version: str, reason: str) -> None:
        """Lets go of what was prepared, and keeps in mind why."""
        self._prepared = None
        self.serving = self.serving.without(version, reason)
        if self._state.served:
            self._state.served = replace(self._state.served, refused=MappingProxyType(dict(self.serving.refused)))

    async def _open(self, version: str) -> _Opened:
        executor = ThreadPoolExecutor(1, "engine")  # what a GPU has captured belongs to the thread that captured it
        engine = await asyncio.get_running_loop().run_in_executor(executor, open_version, self._state.settings, version)
        return _Opened(engine, executor)

    def _predictor(self, opened: _Opened) -> Predictor:
        state = self._state
        return Predictor(opened.engine, state.settings, state.metrics, opened.executor, self._workshop)

    def _serve(self, predictors: dict[str, Predictor]) -> None:
        current = predictors[self.serving.current]
        served = Served(current, MappingProxyType(predictors), MappingProxyType(dict(self.serving.refused)))
        self._state.metrics.engine = current.engine
        self._state.served = served
        self._swapped(served)

    def _report(self, engine: Engine) -> None:
        report = _log.warning if engine.fallback else _log.info
        report(
            "model open",
            model=engine.manifest.name,
            version=engine.manifest.version,
            sha256=engine.manifest.sha256,
            provider=engine.provider,
            asked=self._state.settings.provider,
            precision=engine.precision,
            runtime=engine.runtime,
            openvino=engine.openvino,
            fallback=engine.fallback,
            graphs=engine.graphs,
            no_graphs=engine.no_graphs,
            threads=engine.threads,
        )
