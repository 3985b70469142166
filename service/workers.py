"""Worker processes: one for each CPU, started, watched, replaced when they die, and ended together.

Workers are forked once everything is imported, so that they share that memory and start in the time it takes to open
the model. Each has listening sockets of its own on the one port; the parent keeps them all, so what comes while a
worker is replaced waits for the next one.
"""

import math
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from itertools import chain
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog

from service.control import Channel
from service.coordinator import Coordinator
from service.listeners import url
from service.terminal import has_terminal

START_FAILED = 3
"""The exit status of a worker that will not start however often it is tried."""

_ENDING = (signal.SIGTERM, signal.SIGINT)
_FLAPPING = 1.0  # seconds; a worker that lived for less is replaced only after as long
_log = structlog.get_logger("digitscope")


class Supervisor:
    """Runs a function in several processes, each with a share of the sockets, until it is told to end."""

    def __init__(
        self,
        serve: Callable[[list[socket.socket], Callable[[], None], Channel], int],
        shares: list[list[socket.socket]],
        coordinator: Coordinator,
    ) -> None:
        """`serve` takes its sockets, what is to be called once it answers, and what ties it to the coordinator.

        It returns the exit status.
        """
        self._coordinator = coordinator
        self._had_terminal = has_terminal()
        self._hung_up = False
        self._serve = serve
        self._shares = shares
        self._url = url(shares[0][0])
        self._context = multiprocessing.get_context("fork")
        self._workers: dict[int, BaseProcess] = {}  # by share
        self._started: dict[int, float] = {}
        self._due: dict[int, float] = {}  # when those that ended are replaced, on the monotonic clock
        self._awaited = len(shares)  # workers that do not answer yet, of those that were started first
        self._signals: list[int] = []
        self._answering, self._answers = os.pipe()  # a byte comes of each worker that answers

    def run(self) -> int:
        """Returns the exit status when all workers have ended: 0 in order, 3 when they cannot start."""
        wakeup, waking = socket.socketpair()
        waking.setblocking(False)
        signal.set_wakeup_fd(waking.fileno())
        for number in _ENDING:
            signal.signal(number, self._note)
        signal.signal(signal.SIGHUP, self._note_hang_up)
        for index in range(len(self._shares)):
            self._start(index)
        status = self._watch(wakeup)
        self._coordinator.end()
        signal.set_wakeup_fd(-1)
        return status

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _note_hang_up(self, number: int, _: FrameType | None) -> None:
        if self._had_terminal and not has_terminal():
            self._signals.append(number)
        else:
            self._hung_up = True

    def _watch(self, wakeup: socket.socket) -> int:
        status = 0
        told = 0  # signals that were passed on
        while self._workers or (self._due and not told):
            now = time.monotonic()
            for index in [index for index, when in self._due.items() if when <= now]:
                del self._due[index]
                self._start(index)
            change_due = math.inf if self._signals else self._coordinator.due
            timeout = max(0.0, min(*self._due.values(), change_due, now + 3600) - now)
            sentinels = {worker.sentinel: index for index, worker in self._workers.items()}
            for ready in wait([*sentinels, wakeup, self._answering, *self._coordinator.sources], timeout):
                if self._coordinator.take(ready):
                    pass
                elif ready == self._answering:
                    self._answered()
                elif ready == wakeup:
                    wakeup.recv(64)
                elif isinstance(ready, int) and self._ended(sentinels[ready], replace=not (self._signals or status)):
                    status = START_FAILED
                    self._due.clear()
                    self._end(signal.SIGTERM)
            if not self._signals:
                if self._hung_up:
                    self._hung_up = False
                    self._coordinator.reload()
                self._coordinator.look(time.monotonic())
            if len(self._signals) > told:
                told = len(self._signals)
                self._end(signal.SIGTERM if told == 1 else signal.SIGKILL)
                self._coordinator.end()
                for listening in chain.from_iterable(self._shares):
                    listening.close()  # while these are open the system goes on to accept for workers that do not
        return status

    def _answered(self) -> None:
        before = self._awaited
        self._awaited -= len(os.read(self._answering, len(self._shares)))  # below 0 by those that replace others
        if before > 0 >= self._awaited:
            _log.info(f"running on {self._url}", workers=len(self._workers))

    def _start(self, index: int) -> None:
        channel = self._coordinator.channel(index)
        worker = self._context.Process(target=self._work, args=(index, channel), name=f"worker-{index}")
        # What ends a worker that has only just begun is to find it with handlers of its own, and not with the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        worker.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        channel.pipe.close()
        self._workers[index] = worker
        self._started[index] = time.monotonic()

    def _ended(self, index: int, *, replace: bool) -> bool:
        """Has a worker that has ended replaced, if it is to be; returns whether no other would fare better."""
        worker = self._workers.pop(index)
        worker.join()
        self._coordinator.ended(index)
        if not replace:
            return False
        if worker.exitcode == START_FAILED and self._awaited > 0:  # later on, the others serve and it is tried again
            return True
        _log.error("a worker died and is replaced", pid=worker.pid, status=worker.exitcode)
        lived = time.monotonic() - self._started[index]
        self._due[index] = time.monotonic() + (_FLAPPING if lived < _FLAPPING else 0)
        return False

    def _end(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            if worker.pid is not None:
                os.kill(worker.pid, number)

    def _tell(self) -> None:
        os.write(self._answers, b".")

    def _work(self, index: int, channel: Channel) -> None:
        """What a worker does, in its own process."""
        signal.set_wakeup_fd(-1)
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)  # until it serves there is nothing to be done in order
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent sees to it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        self._coordinator.leave()
        for other in self._shares[:index] + self._shares[index + 1 :]:
            for listening in other:
                listening.close()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        status = self._serve(self._shares[index], self._tell, channel)
        os._exit(status)  # nothing of the parent's is to be cleaned up here


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
