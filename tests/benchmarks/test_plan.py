"""The plan has all that is to be measured, and every claim rests on what the plan has."""

import re
import tomllib

import pytest

from benchmarks.cpus import Cpus, choose_cpus
from benchmarks.digits import ROOT
from benchmarks.errors import BenchmarkError
from benchmarks.form import FORMS
from benchmarks.peer import PEERS
from benchmarks.plan import CLAIMED, CLAIMED_RATES, RATES, Measured, plan
from benchmarks.verdict import judge
from tests.benchmarks.test_verdict import results

PLAN = {measured.server.name: measured for measured in plan(Cpus(0, 1), 250)}


def points(name: str) -> set[tuple[str, int, int]]:
    """Form, images and connections of all points of a server."""
    return {(point.form, point.images, point.connections) for point in PLAN[name].points}


def test_the_service_is_asked_in_every_form() -> None:
    """Raw, OIP binary, OIP JSON and PNG with 1, 16 and 64 connections, the binary ones with 256 images too."""
    wanted = {(form, 1, number) for form in ("raw", "oip-binary", "oip-json", "png") for number in (1, 16, 64)}
    wanted |= {(form, 256, number) for form in ("raw", "oip-binary") for number in (1, 16, 64)}
    assert wanted <= points("digitscope")


def test_floors_and_peers_have_the_same_connections() -> None:
    """The floor and every peer are measured at 1, 16 and 64 connections, one image a request."""
    names = {"fastapi_plain", "litserve", "mlserver", "bentoml", "pytriton"}
    assert {peer.name for peer in PEERS} == names <= PLAN.keys()
    for name in {*names, "floor"}:
        assert {number for _, images, number in points(name) if images == 1} == {1, 16, 64}


def test_open_loops_go_past_saturation() -> None:
    """From 30 to 150 percent on the service as it is measured."""
    assert (0.3, 0.5, 0.7, 0.9, 1.0, 1.2, 1.5) == RATES == PLAN["digitscope"].rates


@pytest.mark.parametrize("measured", PLAN.values(), ids=lambda measured: str(measured.server.name))
def test_servers_keep_off_the_generators_cpu(measured: Measured) -> None:
    """Each server has one CPU, but for two workers on both; each of its forms is one that there is."""
    assert measured.server.cpus == ("0,1" if measured.server.name == "digitscope-2" else 0)
    assert {point.form for point in measured.points} <= set(FORMS)
    assert any("{port}" in text for text in (*measured.server.command, *measured.server.environment.values()))


def test_claims_rest_on_what_is_planned() -> None:
    """What has the full time is planned, and it is all that the claims take: without it none of theirs is measured."""
    assert {point.key(name) for name, measured in PLAN.items() for point in measured.points} >= CLAIMED
    assert set(RATES) >= CLAIMED_RATES
    full = results()
    others = dict.fromkeys(point.key(name) for name, measured in PLAN.items() for point in measured.points)
    full.rounds[0].loads |= {key: full.rounds[0].loads["floor/floor/1/1"] for key in others if key not in CLAIMED}
    for key in CLAIMED:
        del full.rounds[0].loads[key]
    full.rounds[0].open_loops.clear()
    assert {verdict.line for verdict in judge(full) if verdict.held is not None} == {6}


def test_no_point_is_planned_twice() -> None:
    """A figure's name stands for one load."""
    keys = [point.key(name) for name, measured in PLAN.items() for point in measured.points]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: str(peer.name))
def test_peers_are_pinned(peer: object) -> None:
    """Every requirement of a peer has one version, and ONNX Runtime is the same for all."""
    folder = next(known.folder for known in PEERS if known is peer)
    lines = [line.partition(" #")[0].strip() for line in (folder / "requirements.txt").read_text().splitlines()]
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\d.]+", line) for line in lines), lines
    assert "onnxruntime==1.32.0" in lines


def test_the_benchmarks_are_not_installed_with_the_service() -> None:
    """They are found in a clone alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert not any("bench" in found for found in project["tool"]["setuptools"]["packages"]["find"]["include"])


def test_one_cpu_is_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server and a generator on one CPU would measure each other, so it is refused."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    with pytest.raises(BenchmarkError, match="two CPUs"):
        choose_cpus()
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5, 3, 4})
    assert choose_cpus().both == "3,4"
