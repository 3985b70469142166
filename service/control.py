"""What changes the versions and keys of one process: by itself alone, or told by the parent of several workers."""

import asyncio
import contextlib
import itertools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import structlog

from service import trial
from service.candidate import reason
from service.errors import DigitscopeError, ModelError, VersionError
from service.exchange import Exchange
from service.keyring import Keyring, Renewal
from service.keys import Key
from service.pipe import Message, Pipe
from service.serving import Change, Serving, check, first, newest
from service.settings import Settings
from service.state import State
from service.terminal import has_terminal
from service.watch import INTERVAL, Watch

Rekeyed = Callable[[Sequence[Key]], None]
_log = structlog.get_logger("digitscope")


class Channel(NamedTuple):
    """What ties a worker to its parent: a pipe for messages, and what is served when the worker begins."""

    pipe: Pipe
    serving: Serving


class Alone:
    """Changes the versions of a service that has one process, by request, by SIGHUP and by watching the folder."""

    def __init__(self, settings: Settings, exchange: Exchange, state: State, rekeyed: Rekeyed) -> None:
        self._settings = settings
        self._exchange = exchange
        self._state = state
        self._rekeyed = rekeyed
        self._turn = asyncio.Lock()
        self._waiting = 0  # changes, the one under way included

    async def change(self, change: Change) -> None:
        """As `service.serving.Control` has it."""
        check(change, self._exchange.serving, self._settings, self._waiting)
        self._waiting += 1
        try:
            async with self._turn:
                await self._change(change)
        finally:
            self._waiting -= 1

    async def _change(self, change: Change) -> None:
        try:
            if change.action == "load":
                await self._try(change.version)
            await self._exchange.prepare(change)
        except VersionError:
            raise
        except Exception as error:
            why = _why(error, self._settings)
            self._exchange.drop(change.version, why)
            self._state.metrics.changed("refused")
            _log.error("model refused", version=change.version, reason=why)
            raise VersionError(f"version {change.version} is refused: {why}") from error
        self._exchange.commit()
        self._state.metrics.changed(f"{change.action}ed")

    async def _try(self, version: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *trial.command(),
            env=trial.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(trial.PATIENCE):
                output = await _told(process, trial.order(self._settings, version))
        except TimeoutError as error:
            raise ModelError(f"it was not open within {trial.PATIENCE:g} s") from error
        finally:
            if process.returncode is None:  # whoever asked has gone, or the service ends
                process.kill()
        if why := trial.verdict(output, process.returncode or 0):
            raise ModelError(why)

    async def watch(self) -> None:
        """Takes newer versions as they come, for ever."""
        watch = Watch(self._settings, self._exchange.serving.current)
        while True:
            await asyncio.sleep(INTERVAL)
            if (version := watch.newer(self._exchange.serving.current)) is not None:
                await self._unasked(version)

    async def reload(self) -> None:
        """Loads anew what the settings say: the keys, and the version."""
        if (keyring := self._state.keyring) and renewed(keyring):
            self._rekeyed(keyring.keys)
        try:
            await self._unasked(newest(self._settings))
        except ModelError as error:
            _log.error("model refused", reason=reason(error, self._settings))

    async def _unasked(self, version: str) -> None:
        with contextlib.suppress(VersionError):  # it is in the log
            await self.change(Change("load", version))


class Worker:
    """Changes the versions of one worker as its parent says, and asks the parent for changes."""

    def __init__(self, settings: Settings, exchange: Exchange, state: State, pipe: Pipe, rekeyed: Rekeyed) -> None:
        self._settings = settings
        self._exchange = exchange
        self._state = state
        self._pipe = pipe
        self._rekeyed = rekeyed
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._preparing: asyncio.Task[None] | None = None

    async def change(self, change: Change) -> None:
        """As `service.serving.Control` has it."""
        number = next(self._numbers)
        told = self._asked[number] = asyncio.get_running_loop().create_future()
        self._say(ask=number, change=change.as_json())
        if why := await told:
            raise VersionError(why)

    def listen(self) -> None:
        """Does what the parent has said; called when something has come."""
        try:
            messages = self._pipe.hear()
        except (EOFError, OSError):  # the parent is gone, and so will this process be
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            return
        for message in messages:
            self._do(message)

    def _do(self, message: Message) -> None:
        number = message["number"]
        match message["do"]:
            case "prepare":
                self._preparing = asyncio.ensure_future(self._prepare(number, Change(**message["change"])))
            case "commit":
                self._exchange.commit()
                self._say(done=number)
            case "drop":
                if self._preparing is not None:
                    self._preparing.cancel()
                self._exchange.drop(message["version"], message["reason"])
            case "answer":
                told = self._asked.pop(number)
                if not told.done():  # as it is once whoever asked has gone
                    told.set_result(message["reason"])
            case "count":
                self._state.metrics.changed(message["outcome"])
            case "keys":
                if (keyring := self._state.keyring) is not None:
                    keyring.take(Renewal(message["text"], message["places"]))
                    self._rekeyed(keyring.keys)

    async def _prepare(self, number: int, change: Change) -> None:
        try:
            digest = await self._exchange.prepare(change)
        except Exception as error:
            self._say(refused=number, reason=_why(error, self._settings))
        else:
            self._say(prepared=number, digest=digest)

    def _say(self, **message: Any) -> None:
        self._pipe.say(message)
        if self._pipe.unsent:
            asyncio.get_running_loop().add_writer(self._pipe.fileno(), self._send)

    def _send(self) -> None:
        self._pipe.send()
        if not self._pipe.unsent:
            asyncio.get_running_loop().remove_writer(self._pipe.fileno())


def _why(error: Exception, settings: Settings) -> str:
    """Why a version could not be opened; what nobody had foreseen goes into the log."""
    if isinstance(error, DigitscopeError):
        return reason(error, settings)
    _log.error("a version could not be opened", exc_info=error)
    return "it could not be opened: the log has the cause"


def renewed(keyring: Keyring) -> Renewal | None:
    """Has keys read anew; what they became, for other processes, or None where they stay, of which the log has why."""
    try:
        renewal = keyring.read()
        warn_of_exposed(keyring)
    except (ValueError, OSError) as error:
        _log.error("keys refused", reason=str(error))
        return None
    keyring.take(renewal)
    _log.info("keys read anew", keys=len(keyring.keys))
    return renewal


def warn_of_exposed(keyring: Keyring) -> None:
    """Says in the log that others reach the file of keys, if they do.

    Raises:
        OSError: it is not there any more.
    """
    if keyring.is_exposed():
        _log.warning(f"{keyring.source} can be read or changed by others; chmod 600 keeps it from them")


@asynccontextmanager
async def controlled(
    state: State, exchange: Exchange, channel: Channel | None, rekeyed: Rekeyed
) -> AsyncIterator[None]:
    """Has a process changed meanwhile, by itself alone or through the channel to its parent.

    `rekeyed` is called with the keys that are known from now on.
    """
    loop = asyncio.get_running_loop()
    if channel is not None:
        worker = Worker(state.settings, exchange, state, channel.pipe, rekeyed)
        state.control = worker
        loop.add_reader(channel.pipe.fileno(), worker.listen)
        try:
            yield
        finally:
            loop.remove_reader(channel.pipe.fileno())
            loop.remove_writer(channel.pipe.fileno())
        return
    alone = Alone(state.settings, exchange, state, rekeyed)
    state.control = alone
    running: set[asyncio.Task[None]] = set()

    def run(work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        running.add(task)
        task.add_done_callback(running.discard)

    had_terminal = has_terminal()

    def hang_up() -> None:
        if had_terminal and not has_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            run(alone.reload())

    signals = hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread()  # not on Windows
    if signals:
        loop.add_signal_handler(signal.SIGHUP, hang_up)
    if state.settings.watch:
        run(alone.watch())
    try:
        yield
    finally:
        if signals:
            loop.remove_signal_handler(signal.SIGHUP)
        for task in running:
            task.cancel()


def at_first(settings: Settings, channel: Channel | None) -> Serving:
    """What a process serves when it begins.

    Raises:
        ModelError: there is no version.
        VersionError: there are too many.
    """
    return channel.serving if channel else first(settings)


async def _told(process: asyncio.subprocess.Process, order: bytes) -> bytes:
    """What a trial writes until it has ended, or the beginning of that."""
    assert process.stdin and process.stdout  # noqa: S101 — it has pipes
    with contextlib.suppress(ConnectionError):
        process.stdin.write(order)
        await process.stdin.drain()
    process.stdin.close()
    output = b""
    while come := await process.stdout.read(trial.LONGEST):
        output = (output + come)[: trial.LONGEST]
    await process.wait()
    return output
