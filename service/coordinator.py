"""Changes of model in all workers together, and of keys, made by their parent.

A version is tried in a process of its own first. Then every worker opens it beside what it serves, and only when all of
them have it do all of them swap it in; where one does not, none does. Changes are made one after the other. A worker
that begins serves what the others do.
"""

import contextlib
import math
import selectors
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import structlog

from service.candidate import reason
from service.control import Channel, renewed
from service.errors import ModelError, VersionError
from service.keyring import Keyring
from service.pipe import Message, Pipe
from service.serving import Change, Serving, check, newest
from service.settings import Settings
from service.trial import PATIENCE, Trial
from service.watch import INTERVAL, Watch

_log = structlog.get_logger("digitscope")


class _Asker(NamedTuple):
    """Who wants a change: a worker, by its pipe, and the number of its question."""

    pipe: Pipe
    number: int


@dataclass
class _Job:
    """A change under way, and the workers whose word on it is awaited."""

    number: int
    change: Change
    asker: _Asker | None
    step: Literal["try", "prepare", "commit"] = "try"
    trial: Trial | None = None
    awaited: set[int] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    deadline: float = math.inf


class Coordinator:
    """Says to the workers what is to be served. It waits for nothing: whoever runs it hands it what has come.

    Attributes:
        serving: what a worker that begins is to serve.
    """

    def __init__(self, settings: Settings, serving: Serving, keyring: Keyring | None = None) -> None:
        self.serving = serving
        self._settings = settings
        self._keyring = keyring
        self._pipes: dict[int, Pipe] = {}  # by worker
        self._full = selectors.DefaultSelector()  # of those that take no more now; it is ready when one of them does
        self._wanted: deque[tuple[Change, _Asker | None]] = deque()
        self._job: _Job | None = None
        self._number = 0
        self._watch = Watch(settings, serving.current) if settings.watch else None
        self._next_look = time.monotonic() + INTERVAL if settings.watch else math.inf

    @property
    def due(self) -> float:
        """When `look` is to be called at the latest, on the monotonic clock."""
        return min(self._next_look, self._job.deadline if self._job else math.inf)

    @property
    def sources(self) -> list[Any]:
        """What is to be waited for, and handed to `take` when something has come."""
        trying = [self._job.trial] if self._job and self._job.trial else []
        return [*self._pipes.values(), self._full, *trying]

    def channel(self, index: int) -> Channel:
        """What ties a worker that is about to begin to this."""
        self._pipes[index], other = Pipe.pair()
        job = self._job
        if job and job.step == "prepare":  # it begins with what the others have, and opens what they do
            job.awaited.add(index)
            self._say(self._pipes[index], do="prepare", number=job.number, change=job.change.as_json())
        return Channel(other, self.serving)

    def leave(self) -> None:
        """Closes what is the parent's alone; for a worker, which has inherited it."""
        self._full.close()
        for pipe in self._pipes.values():
            pipe.close()
        if self._job and self._job.trial:
            self._job.trial.leave()

    def end(self) -> None:
        """Ends a trial that is under way."""
        if self._job and self._job.trial:
            self._job.trial.end()
            self._job.trial = None

    def ended(self, index: int) -> None:
        """A worker has ended."""
        pipe = self._pipes.pop(index)
        if pipe in self._full.get_map():
            self._full.unregister(pipe)
        pipe.close()
        job = self._job
        if job is None or index not in job.awaited:
            return
        if job.step == "prepare":
            self._refuse(job, "a worker ended while it opened it")
        else:
            self._heard(job, index)

    def reload(self) -> None:
        """Has loaded anew what the settings say: the keys, and the version."""
        if self._keyring and (renewal := renewed(self._keyring)):
            for pipe in self._pipes.values():
                self._say(pipe, supersedes=True, do="keys", number=None, **renewal._asdict())
        try:
            self._want(Change("load", newest(self._settings)))
        except ModelError as error:
            _log.error("model refused", reason=reason(error, self._settings))

    def look(self, now: float) -> None:
        """Does what the time has come for."""
        if self._watch and now >= self._next_look:
            self._next_look = now + INTERVAL
            if (version := self._watch.newer(self.serving.current)) is not None:
                self._want(Change("load", version))
        job = self._job
        if job and now >= job.deadline:
            if job.step == "commit":
                self._finish(job)
            else:
                self.end()
                self._refuse(job, f"it was not open within {PATIENCE:g} s")

    def take(self, source: Any) -> bool:
        """Takes what has come of a source; returns whether it is one of these."""
        job = self._job
        if job and job.trial and source is job.trial:
            if (why := job.trial.hear()) is None:
                return True
            job.trial = None
            if why:
                self._refuse(job, why)
            else:
                self._prepare(job)
            return True
        if source is self._full:
            for pipe in [key.data for key, _ in self._full.select(0)]:
                pipe.send()
                if not pipe.unsent:
                    self._full.unregister(pipe)
            return True
        index = next((index for index, pipe in self._pipes.items() if pipe is source), None)
        if index is None:
            return False
        messages: list[Message] = []
        with contextlib.suppress(EOFError, OSError):  # it has ended, and will be told so
            messages = self._pipes[index].hear()
        for message in messages:
            self._read(index, message)
        return True

    def _read(self, index: int, message: Message) -> None:
        job = self._job
        if "ask" in message:
            self._want(Change(**message["change"]), _Asker(self._pipes[index], message["ask"]))
        elif job is None:
            pass  # of a change that was given up
        elif message.get("prepared") == job.number:
            job.digests.add(message["digest"])
            self._heard(job, index)
        elif message.get("refused") == job.number:
            self._refuse(job, message["reason"])
        elif message.get("done") == job.number:
            self._heard(job, index)

    def _want(self, change: Change, asker: _Asker | None = None) -> None:
        try:
            check(change, self.serving, self._settings, len(self._wanted))
        except VersionError as error:
            self._answer(asker, str(error))
            return
        self._wanted.append((change, asker))
        self._next()

    def _next(self) -> None:
        """Begins the next change, if none is under way."""
        while self._job is None and self._wanted:
            change, asker = self._wanted.popleft()
            try:
                self.serving.after(change)
            except VersionError as error:
                self._answer(asker, str(error))
                continue
            self._number += 1
            job = self._job = _Job(self._number, change, asker, deadline=time.monotonic() + PATIENCE)
            if change.action == "load":
                try:
                    job.trial = Trial(self._settings, change.version)
                except OSError as error:  # there is no room for another process
                    self._refuse(job, f"it could not be tried: {error.strerror}")
            else:
                self._prepare(job)

    def _prepare(self, job: _Job) -> None:
        self._all(job, "prepare", change=job.change.as_json())

    def _heard(self, job: _Job, index: int) -> None:
        """A worker has done its part of a step."""
        job.awaited.discard(index)
        if job.awaited:
            return
        if job.step == "commit":
            self._finish(job)
        elif len(job.digests) > 1:
            self._refuse(job, "its files changed while it was opened")
        else:
            self.serving = self.serving.after(job.change)
            self._all(job, "commit")

    def _all(self, job: _Job, step: Literal["prepare", "commit"], **what: Any) -> None:
        job.step, job.awaited = step, set(self._pipes)
        job.deadline = time.monotonic() + PATIENCE
        for pipe in self._pipes.values():
            self._say(pipe, do=step, number=job.number, **what)
        if not job.awaited:
            if step == "commit":
                self._finish(job)
            else:
                self._refuse(job, "no worker is there to open it")

    def _refuse(self, job: _Job, why: str) -> None:
        version = job.change.version
        if job.change.action == "load":
            self.serving = self.serving.without(version, why)
        for pipe in self._pipes.values():
            self._say(pipe, do="drop", number=job.number, version=version, reason=why)
        _log.error("model refused", version=version, reason=why)
        self._finish(job, "refused", f"version {version} is refused: {why}")

    def _finish(self, job: _Job, outcome: str = "", why: str = "") -> None:
        outcome = outcome or f"{job.change.action}ed"
        for pipe in [*self._pipes.values()][:1]:  # one of them, as all counts are summed
            self._say(pipe, do="count", number=job.number, outcome=outcome)
        self._answer(job.asker, why)
        self._job = None
        self._next()

    def _answer(self, asker: _Asker | None, why: str) -> None:
        if asker:
            self._say(asker.pipe, do="answer", number=asker.number, reason=why)

    def _say(self, pipe: Pipe, *, supersedes: bool = False, **message: Any) -> None:
        pipe.say(message, supersedes=supersedes)
        if pipe.unsent and pipe not in self._full.get_map():
            self._full.register(pipe, selectors.EVENT_WRITE, pipe)
