"""The command in this process, against a service of its own and without one: what it writes, says and returns."""

import csv
import errno
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow.parquet as pq
import pytest

from client.__main__ import start
from client.command import main
from client.outputs.ledger import journal_of
from tests.conftest import Mnist
from tests.service.pictures import encode
from tests.service.serving import DATA, MODELS, Process

_RAY = ("x", "--engine", "ray", "--output", "x")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine's environment says of proxies is no matter of this machine's own addresses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path, mnist: Mnist) -> Path:
    """A folder with pictures, an archive, an array, and two files that are bad."""
    found = tmp_path / "in"
    (found / "b").mkdir(parents=True)
    for number in range(20):
        (found / "b" / f"{number:02}.png").write_bytes(encode(mnist.images[number]))
    with zipfile.ZipFile(found / "c.zip", "w") as archive:
        archive.writestr("x.png", encode(mnist.images[20]))
    np.save(found / "d.npy", mnist.images[21:300])
    (found / "b" / "07b.png").write_bytes(b"no picture")
    (found / "e.png").touch()
    return found


def ask(server: Process, output: Path, *arguments: str | Path) -> int:
    """The exit status of the command."""
    return main([*map(str, arguments), "--url", server.url, "--output", str(output)])


def test_each_input_has_its_row(
    server: Process, folder: Path, mnist: Mnist, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files, an archive and an array in their order, the bad ones with their sentences; then a summary and status 1."""
    output, report = folder.parent / "x.csv", folder.parent / "x.html"
    assert ask(server, output, folder, "--probabilities", "--model-columns", "--report", report) == 1
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["input"].removeprefix(f"{folder}/") for row in rows]
    pictures = [f"b/{number:02}.png" for number in range(20)]
    assert names[:21] == [*pictures[:8], "b/07b.png", *pictures[8:]]
    assert names[21:24] == ["c.zip/x.png", "d.npy[0]", "d.npy[1]"] and names[-1] == "e.png" and len(rows) == 302
    assert rows[8]["error"].startswith("this is no picture") and rows[-1]["error"] == "it is empty"
    digits = [int(row["digit"]) for row in rows if not row["error"]]
    assert (np.array(digits) == mnist.labels[:300]).mean() > 0.98
    assert all(abs(sum(float(row[f"p{n}"]) for n in range(10)) - 1) < 1e-4 for row in rows if not row["error"])
    assert {(row["model"], row["version"], len(row["sha256"])) for row in rows} == {("digits", "2", 64)}
    said = capsys.readouterr()
    assert said.out.startswith("302 inputs in") and "failed   2: " in said.out and said.err == ""
    assert report.read_text(encoding="utf-8").count("<li>") == 60
    assert sorted(path.name for path in folder.parent.iterdir()) == ["in", "x.csv", "x.html"]


def test_without_a_service_the_rows_are_the_same(server: Process, folder: Path) -> None:
    """--local, with the values of a layer: the table that the service gives."""
    tables = []
    for name, where in (("a", ["--url", server.url]), ("b", ["--local", "--model", str(MODELS), "--processes", "1"])):
        output = folder.parent / f"{name}.parquet"
        assert main([str(folder), *where, "--layer", "fc1", "--output", str(output)]) == 1
        tables.append(pq.read_table(output))
    for name in ("input", "digit", "rejected", "reason", "error"):
        assert tables[0][name].to_pylist() == tables[1][name].to_pylist()
    values = [np.array([each or [0] * 600 for each in table["fc1"].to_pylist()]) for table in tables]
    assert np.abs(values[0] - values[1]).max() < 1e-5 and (values[0] == 0).all(axis=1).sum() == 2


def test_paths_from_standard_input(
    server: Process, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each; the report, which reads the inputs again, finds them all the same. All answered is status 0."""
    paths = f"{folder}/b/00.png\n{folder}/c.zip\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(paths.encode())))
    output, report = folder.parent / "x.jsonl", folder.parent / "x.html"
    assert ask(server, output, "-", "--report", report) == 0
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["input"] for row in rows] == [f"{folder}/b/00.png", f"{folder}/c.zip/x.png"]
    assert report.read_text(encoding="utf-8").count("<img") == 2
    assert capsys.readouterr().out.startswith("2 inputs in")


def test_mnist_as_it_comes(server: Process, tmp_path: Path, mnist: Mnist) -> None:
    """The 10,000 digits of MNIST's own gzipped file, into NPZ: as accurate as the model is."""
    assert ask(server, tmp_path / "x.npz", DATA / "t10k-images-idx3-ubyte.gz") == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert (found["digit"] == mnist.labels).mean() > 0.995


def test_pictures_that_are_prepared(server: Process, tmp_path: Path, mnist: Mnist) -> None:
    """With --preprocess none a picture of 28×28 is the digit itself, and one of another size costs its row."""
    (tmp_path / "a.png").write_bytes(encode(mnist.images[0]))
    (tmp_path / "b.png").write_bytes(encode(np.zeros((30, 30), np.uint8)))
    assert ask(server, tmp_path / "x.jsonl", tmp_path / "a.png", tmp_path / "b.png", "--preprocess", "none") == 1
    first, second = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
    assert first["digit"] == 7 and "30×30" in second["error"]


def test_a_finished_run_is_not_done_again(server: Process, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--resume with the output there and no unfinished run does nothing, so that a loop around it ends."""
    output = folder.parent / "x.csv"
    assert ask(server, output, folder / "b" / "00.png", "--resume") == 0
    before = output.stat().st_mtime_ns
    assert ask(server, output, folder / "b" / "00.png", "--resume") == 0
    assert output.stat().st_mtime_ns == before and "is there already" in capsys.readouterr().err
    assert ask(server, output, folder / "b" / "07b.png", "--resume") == 0
    assert "was not compared" in capsys.readouterr().err
    journal_of(output).touch()  # of a run that died before its first line
    assert ask(server, output, folder / "b" / "00.png") == 2
    assert "--resume goes on with" in capsys.readouterr().err
    assert ask(server, output, folder / "b" / "00.png", "--restart") == 0 and not journal_of(output).exists()


def test_the_files_of_the_run_are_no_inputs(
    server: Process, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With output and report in the folder that is read, an aborted run and its resumption have its inputs alone."""
    monkeypatch.chdir(folder)
    arguments = (".", folder / "*", f"file://{folder}", "--report", "x.html", "--resume")
    (folder / "x.html").write_text("of an earlier run")
    with monkeypatch.context() as patch:
        patch.setattr("client.job.write_output", _full)
        assert ask(server, Path("x.csv"), *arguments) == 2
    assert journal_of(folder / "x.csv").exists()
    (folder / "x.csv").write_text("of an earlier run")
    assert ask(server, Path("x.csv"), *arguments) == 1
    assert "resumed: 906 rows" in capsys.readouterr().err
    with (folder / "x.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 906


def test_a_fault_of_ours_is_not_taken_for_failed_inputs(
    server: Process, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception that nobody thought of aborts the run with status 2."""
    monkeypatch.setattr("client.job.write_output", lambda *_: 1 / 0)
    assert ask(server, folder.parent / "x.csv", folder / "c.zip") == 2
    assert "aborted: ZeroDivisionError: division by zero; --resume" in capsys.readouterr().err


def test_arguments_that_are_no_text(server: Process, folder: Path) -> None:
    """A file whose name is not UTF-8 can be named on the command line."""
    name = os.fsdecode(os.fsencode(folder) + b"/\xff.png")
    (folder / "b" / "00.png").rename(name)
    assert ask(server, folder.parent / "x.csv", name) == 0


def test_without_the_services_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--local where ONNX Runtime is not installed says how that is done."""
    monkeypatch.delitem(sys.modules, "client.local", raising=False)
    monkeypatch.setitem(sys.modules, "service.engine", None)
    assert main(["none.png", "--local", "--output", str(tmp_path / "x.csv")]) == 2
    assert "--local needs service.engine: pip install '.[client,cpu]'" in capsys.readouterr().err


def _full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".ndjson", ".parquet", ".npz"])
def test_a_finished_run_says_again_whether_inputs_failed(server: Process, folder: Path, suffix: str) -> None:
    """--resume on a finished output returns what its run returned; on what is no table of a run, that it aborted."""
    output = folder.parent / f"x{suffix}"
    for name, status in (("00.png", 0), ("07b.png", 1)):
        assert ask(server, output, folder / "b" / name) == status
        assert ask(server, output, folder / "b" / name, "--resume") == status
    output.write_bytes(b"{}")
    assert ask(server, output, folder, "--resume") == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["x", "--output", "x.txt"], "its name is to end in one of .csv, .jsonl"),
        (["x", "--output", "x.csv", "--layer", "fc1"], "--layer: its values go into .parquet or .npz, not into .csv"),
        (["x", "--output", "nowhere/x.csv"], "there is no folder nowhere"),
        (["x", "--output", "x.csv", "--resume", "--restart"], "it is one or the other"),
        (["x", "--output", "x.csv", "--most", "0"], "0 is less than 1"),
        (["x", "--output", "x.csv", "--patience", "soon"], "invalid number value: 'soon'"),
        (["--output", "x.csv"], "INPUT"),
        (["x", "--output", "x.csv", "--ray-address", "auto"], "--ray-address: it is of --engine ray"),
        ([*_RAY, "--output", "x.csv"], "--engine ray writes a folder of Parquet files"),
        ([*_RAY, "--url", "http://other"], "--url: not with --engine ray, which asks no service"),
        ([*_RAY, "--local"], "--local: not with --engine ray, which predicts on its workers"),
        ([*_RAY, "--timeout", "1"], "--timeout: not with --engine ray"),
        ([*_RAY, "--patience", "1"], "--patience: not with --engine ray"),
        ([*_RAY, "--most", "1"], "--most: not with --engine ray"),
        ([*_RAY, "--report", "x.html"], "--report: not with --engine ray, whose rows are in many files"),
        ([*_RAY, "--resume"], "--resume: not with --engine ray, which goes on by itself when a worker dies"),
        ([*_RAY, "--ray-address", "auto", "--processes", "1"], "--processes: a cluster has the CPUs that it has"),
    ],
)
def test_wrong_flags(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be, or would be passed over, is told before anything is asked, with status 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and told in capsys.readouterr().err


def test_without_ray_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--engine ray where Ray is not installed says how that is done."""
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["none.png", "--engine", "ray", "--output", str(tmp_path / "x")]) == 2
    assert "--engine ray needs ray: pip install 'digitscope[ray]'" in capsys.readouterr().err


def test_without_its_extra_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where what it needs is not installed, a sentence says how that is done, with status 2."""
    monkeypatch.delitem(sys.modules, "client.command")
    monkeypatch.setitem(sys.modules, "rich.logging", None)
    assert start() == 2
    assert capsys.readouterr().err == "digitscope-batch needs rich.logging: pip install 'digitscope[client]'\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--layer", "conv9", "--local", "--model", str(MODELS)], "--layer conv9: the model's layers are conv1, "),
        (["--local", "--model", "."], "there is no model in digits"),
        (["--url", "nowhere"], "'nowhere' is no address of a service"),
    ],
)
def test_runs_that_cannot_begin(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence, status 2, and nothing is left behind."""
    output = tmp_path / "x.parquet"
    assert main(["none.png", "--output", str(output), *arguments]) == 2
    assert told in capsys.readouterr().err and list(tmp_path.iterdir()) == []
