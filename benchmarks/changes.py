"""`python -m benchmarks.changes`: the model changed again and again under full load, half of the times to a broken one.

Every answer is compared with what the version that it names must answer, and that version with those that could answer
when the request was sent. It writes `changes.json` and `changes.md`.
"""

import argparse
import asyncio
import datetime as dt
import http.client
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.candidates import KINDS, REASONS, Candidates
from benchmarks.cpus import choose_cpus
from benchmarks.digits import ROOT, png
from benchmarks.form import FORMS, form
from benchmarks.machine import describe_machine, describe_packages
from benchmarks.memory import worker_memory
from benchmarks.plan import service_server
from benchmarks.server import HOST, run_server, wait_for_answer

_FIRST = 1  # the version that the service begins with
_TOLERANCE = 1e-3  # of a logit, and of a probability
_LASTS = 150  # requests of a connection
_REPOSITORY = "/v2/repository/models/digits/load"


@dataclass
class Load:
    """Clients that each send a request when the last one is answered, of several kinds, and look at every answer.

    One of them looks inside now and then; more would be refused, as the service takes one such request at a time.

    Attributes:
        pause: seconds that a client waits between an answer and its next request.
        loads: the good versions in the order in which they were asked for.
        done: how many of them every worker has.
        answers: how many came, by the version that they named.
        wrong: what was wrong, of the first few.
        failures: how many requests were not answered right.
        slowest: seconds of the slowest prediction.
    """

    candidates: Candidates
    port: int
    pause: float = 0.0
    loads: list[int] = field(default_factory=lambda: [_FIRST])
    done: int = 1
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    failures: int = 0
    slowest: float = 0.0
    over: bool = False

    async def run(self, connections: int) -> None:
        """Asks until it is over."""
        await asyncio.gather(*(self._client(number) for number in range(connections)))

    async def _client(self, number: int) -> None:
        numbers = itertools.count(number)
        while not self.over:
            writer: asyncio.StreamWriter | None = None
            try:
                reader, writer = await asyncio.open_connection(HOST, self.port)
                for sent in itertools.islice(numbers, _LASTS):
                    await self._ask(sent, reader, writer, looks=number == 0)
                    await asyncio.sleep(self.pause)
                    if self._is_over():
                        break
            except (OSError, EOFError, asyncio.IncompleteReadError) as error:
                self._fail(f"the connection broke: {error!r}")
            finally:
                if writer is not None:
                    writer.close()

    async def _ask(self, sent: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, looks: bool) -> None:
        place = sent % len(self.candidates.images)
        digit = self.candidates.images[place]
        looks = looks and sent % 20 == 0
        target, headers, body = _look_inside(digit) if looks else _request(sent, digit)
        head = f"POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        oldest = self.done - 1
        began = time.perf_counter()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:-2])
        content = await reader.readexactly(int(fields[b"content-length"]))
        if not looks:  # which is done when nobody else wants the CPU
            self.slowest = max(self.slowest, time.perf_counter() - began)
        if not answer.startswith(b"HTTP/1.1 200"):
            self._fail(f"{target} was answered by {answer[9:12]!r}: {content[:200]!r}")
            return
        version, found, is_logits = _answer(content, int(fields.get(b"inference-header-content-length", 0)))
        self.answers[version] += 1
        if version not in self.loads[oldest:]:
            self._fail(f"version {version} answered where only {self.loads[oldest:]} could")
            return
        expected = self.candidates.logits(version)[place]
        if not is_logits:
            expected = np.exp(expected) / np.exp(expected).sum()
        if np.abs(found - expected).max() > _TOLERANCE:
            self._fail(f"the answer to {target} is none of version {version}")

    def _is_over(self) -> bool:  # which mypy would take for settled
        return self.over

    def _fail(self, said: str) -> None:
        self.failures += 1
        if len(self.wrong) < 10:
            self.wrong.append(said)


def _request(sent: int, digit: NDArray[np.uint8]) -> tuple[str, str, bytes]:
    """Target, headers and body of a request: raw digits by two routes, or a picture as multipart."""
    if sent % 7 == 0:
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        part = b"%b%b\r\n--b--\r\n" % (head, png(digit))
        return "/v1/predict?preprocess=none", "Content-Type: multipart/form-data; boundary=b\r\n", part
    if sent % 2:
        return "/v1/predict", "Content-Type: application/octet-stream\r\n", digit.tobytes()
    return "/v2/models/digits/infer", "Inference-Header-Content-Length: 0\r\n", digit.tobytes()


def _look_inside(digit: NDArray[np.uint8]) -> tuple[str, str, bytes]:
    """A request for the logits and a layer, which is worked on in a thread for as long as it takes."""
    tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": digit.reshape(-1).tolist()}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "logits"}, {"name": "fc1"}]})
    return "/v2/models/digits/infer", "", body.encode()


def _answer(content: bytes, header: int) -> tuple[int, NDArray[np.float64], bool]:
    """The version that an answer names, its ten numbers, and whether they are logits."""
    if header:
        told = json.loads(content[:header])
        return int(told["model_version"]), np.frombuffer(content[header : header + 40], "<f4").astype(np.float64), True
    told = json.loads(content)
    if "outputs" in told:
        return int(told["model_version"]), np.array(told["outputs"][0]["data"]), True
    return int(told["model"]["version"]), np.array(told["predictions"][0]["probabilities"]), False


@dataclass(frozen=True)
class Changes:
    """What became of the changes, and of the requests meanwhile.

    Attributes:
        loaded: good versions that were taken.
        refused: broken ones that were refused, by kind.
        wrong: what went otherwise than it should, of the first few.
        seconds: of each change, from asking to its answer, sorted.
        slowest_ms: of the slowest prediction.
        memory_mb: of all workers together, after each tenth of the changes.
    """

    loaded: int
    refused: dict[str, int]
    requests: int
    failures: int
    versions: int
    wrong: list[str]
    seconds: list[float]
    slowest_ms: float
    memory_mb: list[float]


async def run_changes(
    candidates: Candidates,
    port: int,
    *,
    changes: int,
    connections: int,
    pause: float = 0.0,
    session: int | None = None,
) -> Changes:
    """Changes the model so many times under load, every other time to a broken version, and sees what comes of it.

    `pause` is as `Load` has it, and `session` that of the service, if its memory is to be looked at.
    """
    load = Load(candidates, port, pause)
    running = asyncio.ensure_future(load.run(connections))
    refused: Counter[str] = Counter()
    seconds, memory = [], []
    try:
        kinds = itertools.cycle(KINDS)
        for number in range(changes):
            version = _FIRST + 1 + number
            broken = next(kinds) if number % 2 else ""
            await asyncio.to_thread(candidates.make, version, broken)
            if not broken:
                load.loads.append(version)
            began = time.perf_counter()
            status, said = await asyncio.to_thread(load_version, port, version)
            seconds.append(time.perf_counter() - began)
            if broken and status == 400 and REASONS[broken] in said:
                refused[broken] += 1
                shutil.rmtree(candidates.folder(version))
            elif not broken and status == 200:
                load.done = len(load.loads)
                shutil.rmtree(candidates.folder(load.loads[-2]))
            else:
                load.wrong.append(f"version {version} ({broken or 'good'}) was answered by {status}: {said}")
                load.failures += 1
            if session is not None and (number + 1) % max(1, changes // 10) == 0:
                memory.append(round(sum(each.pss_mb for each in worker_memory(session)), 1))
    finally:
        load.over = True
        await running
    return Changes(
        loaded=load.done - 1,
        refused=dict(refused),
        requests=sum(load.answers.values()),
        failures=load.failures,
        versions=len(load.answers),
        wrong=load.wrong,
        seconds=sorted(round(each, 3) for each in seconds),
        slowest_ms=round(load.slowest * 1000, 1),
        memory_mb=memory,
    )


def load_version(port: int, version: int) -> tuple[int, str]:
    """Has a version loaded; returns the status and the body of the answer."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=300)) as connection:
        connection.request("POST", _REPOSITORY, json.dumps({"parameters": {"version": str(version)}}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.changes", description="Changes the model under load.")
    parser.add_argument("--changes", type=int, default=100, help="how many, half of them to broken versions")
    parser.add_argument("--connections", type=int, default=32, help="clients that ask without a pause")
    parser.add_argument("--workers", type=int, default=2, help="of the service")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder for changes.json and changes.md")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> Changes:
    with tempfile.TemporaryDirectory() as folder:
        candidates = Candidates(Path(folder))
        candidates.make(_FIRST)
        flags = ("--models", folder, "--repository-api")
        cpus = choose_cpus().both
        with run_server(service_server("digitscope", "digitscope", cpus, *flags, workers=options.workers)) as running:
            wait_for_answer(running, form(FORMS[0]))
            return asyncio.run(
                run_changes(
                    candidates,
                    running.port,
                    changes=options.changes,
                    connections=options.connections,
                    session=running.session,
                )
            )


def _page(found: Changes, told: dict[str, Any]) -> str:
    rows = [f"| {kind} | {count} |" for kind, count in found.refused.items()]
    middle = found.seconds[len(found.seconds) // 2]
    memory = ", ".join(f"{each:.0f}" for each in found.memory_mb)
    return "\n".join(
        (
            "# The model changed under full load",
            "",
            f"{told['date']}, {told['machine']['processor']}, {told['workers']} workers, {told['connections']} clients "
            "that ask without a pause: raw digits, multipart pictures and a layer, by two routes. `python -m "
            "benchmarks.changes` measures it anew.",
            "",
            f"- {found.loaded + sum(found.refused.values())} changes: {found.loaded} versions taken, "
            f"{sum(found.refused.values())} broken ones refused, each with its reason.",
            f"- {found.requests:,} answers by {found.versions} versions, of which {found.failures} failed, came from a "
            "version that could not answer, or were none of the version that they named.",
            f"- A change took {middle:.2f} s in the median and {found.seconds[-1]:.2f} s at most, most of it the trial "
            f"in a process of its own; the slowest prediction took {found.slowest_ms:.0f} ms.",
            f"- Memory of all processes after each tenth of the changes, in MB: {memory}.",
            "",
            "| broken by | refused |",
            "| --- | --- |",
            *rows,
            "",
        )
    )


def main() -> int:
    """Runs it; returns 1 if anything went otherwise than it should."""
    options = _arguments()
    began = time.perf_counter()
    found = _measure(options)
    told = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": describe_machine(),
        "packages": describe_packages(),
        "workers": options.workers,
        "connections": options.connections,
        "took_s": round(time.perf_counter() - began, 1),
        **asdict(found),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "changes.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    page = _page(found, told)
    (options.out / "changes.md").write_text(page, encoding="utf-8")
    print(page)
    for said in found.wrong:
        print(said, file=sys.stderr)
    return 1 if found.failures or found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
