"""The hostile requests, one after the other, to the service as people run it."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Mnist
from tests.hostile.case import Case
from tests.hostile.corpus import corpus
from tests.hostile.pictures import READ
from tests.service.serving import Process, process

_ROOM = 300_000_000  # bytes that one request may have beside what the service has anyway


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """All of them."""
    return list(corpus())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service of one process, whose memory is all that there is."""
    with process(tmp_path_factory.mktemp("hostile") / "log", "--provider", "cpu", "--workers", "1") as running:
        yield running


def _most_memory(pid: int) -> int:
    """The most bytes that a process has had at once."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_there_are_many_of_many_kinds(cases: list[Case]) -> None:
    """At least 500, no two of one name, of every format that is read, and of all ways in."""
    names = Counter(case.name for case in cases)
    assert len(names) == len(cases) >= 500
    assert {case.path for case in cases} == {"/v1/predict", "/v2/models/digits/infer"}
    assert {name.partition("/")[0] for name in names} >= {*READ, "png", "infer", "frame", "upload", "prepared"}


def test_each_is_answered_or_refused_and_nothing_is_left_behind(
    alone: Process, cases: list[Case], mnist: Mnist
) -> None:
    """No answer is a failure of the service, none takes long, and memory stays within what one request may have.

    Refusals are a sentence in JSON that tells nothing of the inside; between them a digit is recognised as ever.
    """
    before = {pid: _most_memory(pid) for pid in _children(alone.popen.pid) or [alone.popen.pid]}
    prepared = {"Content-Type": "application/octet-stream"}
    statuses: Counter[int] = Counter()
    with httpx.Client(base_url=alone.url, timeout=30, trust_env=False) as client:
        for number, case in enumerate(cases):
            began = time.monotonic()
            answer = client.post(case.path, content=case.body, headers=case.headers)
            assert answer.status_code in (200, 400, 413, 415), (case.name, answer.status_code, answer.text[:200])
            assert time.monotonic() - began < 20, case.name
            statuses[answer.status_code] += 1
            if answer.status_code != 200:
                assert list(answer.json()) == ["error"], case.name
                sentence = answer.json()["error"]
                assert not any(word in sentence for word in ("Traceback", "/work", "site-packages", "0x")), case.name
            if number % 50 == 0:
                digit = client.post("/v1/predict", content=mnist.images[0].tobytes(), headers=prepared)
                assert digit.json()["predictions"][0]["digit"] == mnist.labels[0]
    assert {200, 400, 413, 415} == set(statuses)
    assert "request failed" not in alone.log.read_text()
    after = {pid: _most_memory(pid) for pid in before}
    assert all(after[pid] - before[pid] < _ROOM for pid in before), (before, after)
