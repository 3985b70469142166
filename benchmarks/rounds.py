"""Rounds: in each one every server is started and measured once, so that a slow moment of the machine meets all."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.cpus import Cpus, pinned
from benchmarks.digits import ROOT, model_folder
from benchmarks.engine_floor import Engine, read_engine
from benchmarks.errors import BenchmarkError
from benchmarks.form import form
from benchmarks.memory import Memory, worker_memory
from benchmarks.overload import OpenLoop
from benchmarks.peer import OPENVINO
from benchmarks.plan import CLAIMED, CLAIMED_RATES, Measured, Point
from benchmarks.server import Running, run_server, wait_for_answer
from benchmarks.wrk import Load, run_wrk
from service.cpus import cpu_flags

SATURATION = Point("raw", 1, 64)
"""The closed-loop load whose rate is what open-loop rates are parts of."""

VARIANTS = {"float32": "model.onnx", "int8": "model.int8.onnx"}
"""The files of a model version that ONNX Runtime is measured with, where they are there, and OpenVINO, where it is."""

_UNDER_WAY = 1200  # images, the work of a fiftieth of three seconds for one CPU
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # flags of CPUs; on others OpenVINO only imitates it


@dataclass
class Round:
    """What one round brought, by name: loads, engines, open-loop runs, memory, and what failed with its cause."""

    loads: dict[str, Load] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    open_loops: dict[str, dict[float, OpenLoop]] = field(default_factory=dict)
    memory: dict[str, list[Memory]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """For results.json."""
        return asdict(self)


def run_round(plan: list[Measured], cpus: Cpus, seconds: float, say: Callable[[str], None]) -> Round:
    """Measures every server of the plan and the engine once."""
    found = Round()
    for variant, name in VARIANTS.items():
        path = model_folder() / name
        if path.exists():
            say(f"ONNX Runtime, {variant}")
            found.engines[variant] = _engine(path, cpus, seconds)
            if "avx512f" in cpu_flags():
                found.engines[f"{variant}, laid out"] = _engine(path, cpus, seconds, "--laid-out", variant)
    if any(measured.peer is OPENVINO for measured in plan):
        for variant, name, precision in _in_openvino():
            say(f"OpenVINO, {variant}")
            found.engines[f"{variant}, OpenVINO"] = _engine(
                model_folder() / name, cpus, seconds, "--openvino", precision, python=OPENVINO.python
            )
    for measured in plan:
        start = time.monotonic()
        try:
            _measure(measured, cpus, seconds, found)
            say(f"{measured.server.title}: {time.monotonic() - start:.0f} s")
        except BenchmarkError as error:
            found.failures[measured.server.name] = str(error)
            say(f"{measured.server.title}: not measured: {error}")
    return found


def _measure(measured: Measured, cpus: Cpus, seconds: float, found: Round) -> None:
    name = measured.server.name
    asks_from = measured.server.cpus if isinstance(measured.server.cpus, str) else cpus.generator
    with run_server(measured.server) as running:
        wait_for_answer(running, form(measured.points[0].form))
        run_wrk(running.port, form(measured.points[0].form), connections=64, seconds=1, cpu=asks_from)  # warms
        for point in measured.points:
            try:
                found.loads[point.key(name)] = _load(running, point, _lasting(point, name, seconds), asks_from)
            except BenchmarkError as error:
                found.failures[point.key(name)] = str(error)
        saturation = found.loads.get(SATURATION.key(name))
        if measured.rates and saturation:
            found.open_loops[name] = {
                part: _open_loop(
                    running, part * saturation.rate, seconds if part in CLAIMED_RATES else seconds / 3, cpus
                )
                for part in measured.rates
            }
        found.memory[name] = worker_memory(running.session)


def _lasting(point: Point, name: str, seconds: float) -> float:
    """The seconds of a load.

    What is under way at its end is not counted, which of 16 requests of 256 images is the work of a fifth of a second.
    So a load of many images lasts longer: of the usual three seconds that one's become ten, and a fiftieth is missing.
    """
    under_way = point.connections * point.images
    if under_way > _UNDER_WAY:
        return seconds * under_way / _UNDER_WAY
    return seconds if point.key(name) in CLAIMED else seconds / 3


def _load(running: Running, point: Point, seconds: float, cpu: int | str) -> Load:
    asked = form(point.form, point.images)
    # With patience: what the load before left in its queue, a server may have to work off first.
    wait_for_answer(running, asked)
    return run_wrk(running.port, asked, connections=point.connections, seconds=seconds, cpu=cpu)


def _in_openvino() -> list[tuple[str, str, str]]:
    """Each with its file and the precision of what are floats in it."""
    found = [(variant, name, "f32") for variant, name in VARIANTS.items() if (model_folder() / name).exists()]
    if _BFLOAT16 & cpu_flags():
        found.append(("bfloat16", VARIANTS["float32"], "bf16"))
    return found


def _engine(path: Path, cpus: Cpus, seconds: float, *options: str, python: Path | str = sys.executable) -> Engine:
    command = [str(python), "-m", "benchmarks.engine_floor", "--model", str(path), "--seconds", str(seconds), *options]
    return read_engine(_told(pinned(cpus.server, command)))


def _open_loop(running: Running, rate: float, seconds: float, cpus: Cpus) -> OpenLoop:
    command = [sys.executable, "-m", "benchmarks.overload", "--port", str(running.port), "--form", SATURATION.form]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    return OpenLoop(**json.loads(_told(pinned(cpus.generator, command))))


def _told(command: list[str]) -> str:
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode:
        raise BenchmarkError(f"{command[5]} failed: {told.stderr.strip()[-300:]}")
    return told.stdout
