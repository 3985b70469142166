"""What the parent says to its workers, played through pipes: all of them change, or none does."""

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from service import trial
from service.control import Channel
from service.coordinator import Coordinator
from service.manifest import MANIFEST_FILE
from service.serving import Change, Serving
from service.settings import Settings

Parent = tuple[Coordinator, list[Channel]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a folder with versions 1 to 3, of which only the names matter here."""
    for version in "123":
        (tmp_path / "digits" / version).mkdir(parents=True)
        (tmp_path / "digits" / version / MANIFEST_FILE).write_text("{}")
    return Settings(models=tmp_path, provider="cpu")


@pytest.fixture
def parent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    """A coordinator of two workers, whose ends of the pipes are the test's; trials find version 3 broken."""
    trials_run(monkeypatch, "json.load(sys.stdin)['model_version'] == '3' and print('broken')")
    coordinator = Coordinator(settings, Serving("1"))
    channels = [coordinator.channel(0), coordinator.channel(1)]
    yield coordinator, channels
    coordinator.leave()
    for channel in channels:
        channel.pipe.close()


def trials_run(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Has trials run code of the test's own."""
    monkeypatch.setattr(trial, "command", lambda: [sys.executable, "-c", f"import json, os, sys, time; {code}"])


def pump(coordinator: Coordinator) -> None:
    """Hands on what comes, until nothing comes any more."""
    while ready := wait(coordinator.sources, 5 if _is_trying(coordinator) else 0.05):
        for source in ready:
            assert coordinator.take(source)


def pump_once(coordinator: Coordinator) -> None:
    """Hands on what has come by now."""
    for source in wait(coordinator.sources, 0):
        assert coordinator.take(source)


def begins(parent: Parent, index: int) -> Serving:
    """What a worker serves that begins now."""
    coordinator, channels = parent
    channels.append(coordinator.channel(index))
    return channels[-1].serving


def is_idle(coordinator: Coordinator) -> bool:
    """Whether no change is under way, of which something would be due."""
    return coordinator.due == math.inf


def _is_trying(coordinator: Coordinator) -> bool:
    return coordinator._job is not None and coordinator._job.trial is not None


def say(channel: Channel, **message: Any) -> None:
    """Says something as a worker."""
    channel.pipe.say(message)


def heard(channel: Channel) -> list[dict[str, Any]]:
    """What a worker was told."""
    found = []
    while wait([channel.pipe.fileno()], 0):
        found += channel.pipe.hear()
    return found


def told(channel: Channel) -> list[str]:
    """What a worker was told to do."""
    return [message["do"] for message in heard(channel)]


def ask(channel: Channel, version: str, number: int = 7) -> None:
    """Asks for a version as a worker does whose client wants it."""
    say(channel, ask=number, change=Change("load", version).as_json())


def begun(parent: Parent, version: str = "2") -> None:
    """Brings a change to where the workers open the version."""
    coordinator, channels = parent
    ask(channels[0], version)
    pump(coordinator)
    for channel in channels:
        (message,) = heard(channel)
        assert (message["do"], message["change"]["version"]) == ("prepare", version)


def test_all_change_when_all_have_it(parent: Parent) -> None:
    """The one that asked is answered when both have changed, and one of them is told to count it."""
    coordinator, (first, second) = parent
    begun(parent)
    say(first, prepared=1, digest="a")
    pump(coordinator)
    assert told(first) == told(second) == [] and coordinator.serving.current == "1" and not is_idle(coordinator)
    say(second, prepared=1, digest="a")
    pump(coordinator)
    assert told(first) == told(second) == ["commit"] and coordinator.serving == Serving("2")
    say(first, done=1)
    pump(coordinator)
    assert told(first) == []
    say(second, done=1)
    pump(coordinator)
    assert [(message["do"], message.get("reason")) for message in heard(first)] == [("count", None), ("answer", "")]
    assert told(second) == [] and is_idle(coordinator)
    assert begins(parent, 2) == Serving("2")


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda parent: say(parent[1][1], refused=1, reason="it is not what it was"), "it is not what it was"),
        (lambda parent: say(parent[1][1], prepared=1, digest="b"), "its files changed while it was opened"),
        (lambda parent: parent[0].ended(1), "a worker ended while it opened it"),
        (lambda parent: parent[0].look(time.monotonic() + 1000), "it was not open within 120 s"),
    ],
)
def test_none_changes_when_one_does_not(parent: Parent, happens: Callable[[Parent], None], said: str) -> None:
    """Whatever keeps one of them: the others drop what they have, and who asked is told why."""
    coordinator, (first, second) = parent
    begun(parent)
    say(first, prepared=1, digest="a")
    pump(coordinator)
    happens(parent)
    pump(coordinator)
    assert coordinator.serving == Serving("1", (), {"2": said}) and is_idle(coordinator)
    drop, count, answer = heard(first)
    assert (drop["do"], drop["version"], drop["reason"]) == ("drop", "2", said)
    assert (count["outcome"], answer["reason"]) == ("refused", f"version 2 is refused: {said}")
    say(second, prepared=1, digest="a")  # too late
    pump(coordinator)
    assert "commit" not in told(first)


def test_what_its_trial_refuses_comes_to_no_worker(parent: Parent) -> None:
    """They hear only why, for whoever asks them."""
    coordinator, (first, second) = parent
    ask(second, "3")
    pump(coordinator)
    assert told(first) == ["drop", "count"] and told(second) == ["drop", "answer"]
    assert coordinator.serving.refused == {"3": "broken"}


def test_a_worker_that_ends_when_all_have_it_changes_nothing(parent: Parent) -> None:
    """The one that replaces it begins with the new version."""
    coordinator, (first, second) = parent
    begun(parent)
    for channel in (first, second):
        say(channel, prepared=1, digest="a")
    pump(coordinator)
    say(first, done=1)
    pump(coordinator)
    coordinator.ended(1)
    assert is_idle(coordinator) and begins(parent, 1) == Serving("2")
    assert told(first) == ["commit", "count", "answer"]


def test_a_worker_that_begins_while_the_others_open_it_opens_it_too(parent: Parent) -> None:
    """It need not wait until they have, which one that is stopped may never do, and changes with them."""
    coordinator, channels = parent
    begun(parent)
    assert begins(parent, 2) == Serving("1")
    for channel in channels[:2]:
        say(channel, prepared=1, digest="a")
    pump(coordinator)
    assert [told(channel) for channel in channels] == [[], [], ["prepare"]] and not is_idle(coordinator)
    say(channels[2], prepared=1, digest="a")
    pump(coordinator)
    assert [told(channel) for channel in channels] == [["commit"]] * 3 and coordinator.serving == Serving("2")


def test_a_worker_that_does_not_read_keeps_nobody(parent: Parent) -> None:
    """However much there is to be said: the others hear it, and it hears all of it in its turn when it reads again."""
    coordinator, (first, second) = parent
    for number in range(2000):
        ask(first, "9", number=number)
        pump_once(coordinator)
        assert [message["number"] for message in heard(first)] == [number]
        ask(second, "9", number=number)
        pump_once(coordinator)
    ask(first, "2")
    pump(coordinator)
    assert told(first) == ["prepare"]
    found = []
    while wait([second.pipe.fileno()], 0):
        found += second.pipe.hear()
        pump(coordinator)
    assert [message["number"] for message in found[:-1]] == list(range(2000)) and found[-1]["do"] == "prepare"


def test_changes_are_made_one_after_the_other(parent: Parent) -> None:
    """Each when the one before it is done, whatever became of that."""
    coordinator, (first, second) = parent
    begun(parent)
    ask(second, "3", number=8)
    ask(second, "9", number=9)
    coordinator.reload()
    pump(coordinator)
    assert [(message["number"], message["reason"]) for message in heard(second)] == [
        (9, "there is no version 9 in the folder of models")
    ]
    say(first, refused=1, reason="no")
    pump(coordinator)
    assert told(first)[:3] == ["drop", "count", "answer"]
    assert coordinator.serving.refused == {"2": "no", "3": "broken"} and is_idle(coordinator)


def test_where_nobody_is_left_to_open_it_it_is_refused(parent: Parent) -> None:
    """All workers may end while a version is tried: the change is over then, and those that follow are made."""
    coordinator, (first, _) = parent
    ask(first, "2")
    (source,) = wait(coordinator.sources, 5)
    assert coordinator.take(source) and _is_trying(coordinator)
    for index in (0, 1):
        coordinator.ended(index)
    pump(coordinator)
    assert not _is_trying(coordinator)
    assert coordinator.serving == Serving("1", (), {"2": "no worker is there to open it"})


def test_a_trial_ends_with_the_service(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that would go on for ever, whatever it has written, is not waited for, nor when the service ends."""
    coordinator, channels = parent
    trials: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def begin(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        trials.append(popen(*arguments, **options))
        return trials[-1]

    monkeypatch.setattr(subprocess, "Popen", begin)
    trials_run(monkeypatch, "print('so far', flush=True); time.sleep(100)")
    for _ in range(2):
        ask(channels[0], "2")
    for source in wait(coordinator.sources, 5):
        coordinator.take(source)
        coordinator.take(source)
    while any(coordinator.take(source) for source in wait(coordinator.sources, 0.5)):
        pass  # what it has written
    coordinator.look(time.monotonic() + 1000)
    assert trials[0].returncode == -9 and len(trials) == 2
    coordinator.end()
    assert trials[1].returncode == -9


def test_a_trial_that_closes_its_output_is_to_end(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on behind that is ended, and its version refused; nothing is waited for longer than a second."""
    coordinator, channels = parent
    trials_run(monkeypatch, "os.close(1); time.sleep(100)")
    ask(channels[0], "2")
    started = time.monotonic()
    pump(coordinator)
    assert time.monotonic() - started < 30 and not _is_trying(coordinator)
    assert coordinator.serving.refused == {"2": "opening it ended the process that tried it, by signal 9"}


def test_a_trial_that_cannot_begin_is_a_refusal(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no room for another process, all who asked are told so, and the parent goes on."""
    coordinator, channels = parent

    def begin(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", begin)
    for version in "23":
        ask(channels[0], version)
    pump(coordinator)
    coordinator.reload()
    why = "it could not be tried: Resource temporarily unavailable"
    assert coordinator.serving == Serving("1", (), {"2": why, "3": why}) and is_idle(coordinator)
    answers = [message["reason"] for message in heard(channels[0]) if message["do"] == "answer"]
    assert answers == [f"version {version} is refused: {why}" for version in "23"]
