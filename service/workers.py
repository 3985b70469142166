"""Worker processes: one for each CPU, started, watched, replaced when they die, and ended together.

Workers are forked once everything is imported, so that they share that memory and start in the time it takes to open
the model. Each has listening sockets of its own on the one port; the parent keeps them all, so what comes while a
worker is replaced waits for the next one.
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog

from service.listeners import url

START_FAILED = 3
"""The exit status of a worker that will not start however often it is tried."""

_ENDING = (signal.SIGTERM, signal.SIGINT)
_FLAPPING = 1.0  # seconds; a worker that lived for less is replaced only after as long
_log = structlog.get_logger("digitscope")


class Supervisor:
    """Runs a function in several processes, each with a share of the sockets, until it is told to end."""

    def __init__(
        self, serve: Callable[[list[socket.socket], Callable[[], None]], int], shares: list[list[socket.socket]]
    ) -> None:
        """`serve` takes its sockets and what is to be called once it answers, and returns the exit status."""
        self._serve = serve
        self._shares = shares
        self._context = multiprocessing.get_context("fork")
        self._workers: dict[int, BaseProcess] = {}  # by share
        self._started: dict[int, float] = {}
        self._signals: list[int] = []
        self._answering, self._answers = os.pipe()  # a byte comes of each worker that answers

    def run(self) -> int:
        """Returns the exit status when all workers have ended: 0 in order, 3 when they cannot start."""
        wakeup, waking = socket.socketpair()
        waking.setblocking(False)
        signal.set_wakeup_fd(waking.fileno())
        for number in _ENDING:
            signal.signal(number, self._note)
        for index in range(len(self._shares)):
            self._start(index)
        status = self._watch(wakeup)
        signal.set_wakeup_fd(-1)
        return status

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _watch(self, wakeup: socket.socket) -> int:
        status = 0
        told = 0  # signals that were passed on
        awaited = len(self._shares)  # workers that do not answer yet, of those that were started first
        while self._workers:
            sentinels = {worker.sentinel: index for index, worker in self._workers.items()}
            for ready in wait([*sentinels, wakeup, self._answering]):
                if ready == self._answering:
                    before = awaited
                    awaited -= len(os.read(self._answering, len(self._shares)))  # below 0 by those that replace others
                    if before > 0 >= awaited:
                        _log.info(f"running on {url(self._shares[0][0])}", workers=len(self._workers))
                elif isinstance(ready, int) and ready in sentinels:
                    failed = self._ended(sentinels[ready], replace=not (self._signals or status))
                    if failed and not status:
                        status = failed
                        self._end(signal.SIGTERM)
            if wakeup in wait([wakeup], 0):
                wakeup.recv(64)
            if len(self._signals) > told:
                told = len(self._signals)
                self._end(signal.SIGTERM if told == 1 else signal.SIGKILL)
        return status

    def _start(self, index: int) -> None:
        worker = self._context.Process(target=self._work, args=(index,), name=f"worker-{index}")
        # What ends a worker that has only just begun is to find it with handlers of its own, and not with the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        worker.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        self._workers[index] = worker
        self._started[index] = time.monotonic()

    def _ended(self, index: int, *, replace: bool) -> int:
        """Replaces a worker that has ended, if it is to be; returns its exit status if no other would fare better."""
        worker = self._workers.pop(index)
        worker.join()
        if not replace:
            return 0
        if worker.exitcode == START_FAILED:
            return START_FAILED
        _log.error("a worker died and is replaced", pid=worker.pid, status=worker.exitcode)
        if time.monotonic() - self._started[index] < _FLAPPING:
            time.sleep(_FLAPPING)
        if not self._signals:  # as none came meanwhile
            self._start(index)
        return 0

    def _end(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            if worker.pid is not None:
                os.kill(worker.pid, number)

    def _tell(self) -> None:
        os.write(self._answers, b".")

    def _work(self, index: int) -> None:
        """What a worker does, in its own process."""
        signal.set_wakeup_fd(-1)
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)  # until it serves there is nothing to be done in order
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        for other in self._shares[:index] + self._shares[index + 1 :]:
            for listening in other:
                listening.close()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        status = self._serve(self._shares[index], self._tell)
        os._exit(status)  # nothing of the parent's is to be cleaned up here


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
