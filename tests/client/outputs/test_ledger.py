"""The ledger: whatever moment a run dies at, what is resumed is whole, in order, and each row there once."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.errors import RunError
from client.inputs.item import Item, broken
from client.outputs import ledger as ledger_module
from client.outputs.columns import Columns
from client.outputs.ledger import Ledger, journal_of, partial_of
from client.prediction import Model, Prediction, Row

MODEL = Model("digits", "2", "abc", {"fc1": (600,), "pool2": (32, 7, 7)})
COLUMNS = Columns(MODEL)
RUN = {"inputs": ("a",), "model": "digits/2"}


def row(number: int) -> Row:
    """A row that can be known again."""
    if number % 7 == 3:
        return Row(f"é{number}", None, f"broken {number}")
    return Row(f"é{number}", Prediction(number % 10, number / 1000, number % 2 == 0, None, (0.1,) * 10))


def names(ledger: Ledger) -> list[str]:
    """The inputs of all rows that are safe."""
    return [name for batch in ledger.batches() for name in batch.column("input").to_pylist()]


def opened(output: Path, *, resume: bool = True, restart: bool = False, **changed: Any) -> Ledger:
    """A ledger of the run."""
    return Ledger(output, COLUMNS, RUN | changed, resume=resume, restart=restart)


def inputs(count: int) -> Iterator[Item]:
    """The inputs of the rows."""
    return (broken(row(number).input, "never read") for number in range(count))


def finish(output: Path, count: int) -> list[str]:
    """Resumes a run, writes what is missing, and gives the inputs of all rows."""
    with opened(output) as ledger:
        kept = ledger.kept
        for number, item in enumerate(ledger.unread(inputs(count)), kept):
            assert item.name == row(number).input
            ledger.write([row(number)])
        ledger.commit()
        return names(ledger)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of 40 rows that were made safe in four steps."""
    output = tmp_path_factory.mktemp("ledger") / "x.csv"
    with opened(output) as ledger:
        for number in range(40):
            ledger.write([row(number)])
            if number % 10 == 9:
                ledger.commit()
    return output


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.binary(max_size=40))
def test_a_death_at_any_byte_loses_no_row_and_doubles_none(
    written: Path, tmp_path_factory: pytest.TempPathFactory, journal: float, partial: float, noise: bytes
) -> None:
    """Both files cut at any byte, with noise behind, as a crash of the machine may leave: the table comes out whole."""
    output = tmp_path_factory.mktemp("cut") / "x.csv"
    for source, target, part, more in (
        (journal_of(written), journal_of(output), journal, b""),
        (partial_of(written), partial_of(output), partial, noise),
    ):
        data = source.read_bytes()
        target.write_bytes(data[: round(part * len(data))] + more)
    assert finish(output, 50) == [row(number).input for number in range(50)]
    shutil.rmtree(output.parent)


def test_any_length_of_the_journal(written: Path, tmp_path: Path) -> None:
    """Cut at every fifth of its bytes in turn: as many tens of rows are kept as it has whole lines behind the first."""
    journal, output = journal_of(written).read_bytes(), tmp_path / "x.csv"
    for cut in range(0, len(journal) + 1, 5):
        journal_of(output).write_bytes(journal[:cut])
        shutil.copy(partial_of(written), partial_of(output))
        with opened(output) as ledger:
            assert ledger.kept == 10 * max(0, journal[:cut].count(b"\n") - 1)
            assert names(ledger) == [row(number).input for number in range(ledger.kept)]


def test_damage_in_the_middle_keeps_what_is_before_it(written: Path, tmp_path: Path) -> None:
    """A block of the rows that never reached the disk, though the file is as long as it should be, is found out."""
    data, output = bytearray(partial_of(written).read_bytes()), tmp_path / "x.csv"
    data[-200:-150] = bytes(50)
    partial_of(output).write_bytes(data)
    shutil.copy(journal_of(written), journal_of(output))
    with opened(output) as ledger:
        assert ledger.kept == 30
    assert finish(output, 45) == [row(number).input for number in range(45)]


def test_rows_are_kept_when_an_exception_ends_the_run(tmp_path: Path) -> None:
    """What was written before a failure or an interruption is there afterwards."""

    def interrupted() -> None:
        with opened(tmp_path / "x.csv") as ledger:
            ledger.write([row(0), row(1)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with opened(tmp_path / "x.csv") as ledger:
        assert ledger.kept == 2


def test_a_disk_that_fails_once_doubles_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose writing failed are not written again on the way out; resumed, the table has each row once."""
    output = tmp_path / "x.csv"
    sync, failures = ledger_module._sync, [OSError(28, "No space left on device")]

    def failing(file: BinaryIO) -> None:
        if failures and file.name.endswith(".partial"):
            raise failures.pop()
        sync(file)

    def write() -> None:
        with opened(output) as ledger:
            ledger.write([row(0)])
            ledger.commit()
            monkeypatch.setattr(ledger_module, "_sync", failing)
            ledger.write([row(1), row(2)])
            ledger.commit()

    with pytest.raises(OSError, match="No space left"):
        write()
    assert not failures and finish(output, 5) == [row(number).input for number in range(5)]


def test_an_unfinished_run_is_not_written_over_unasked(written: Path, tmp_path: Path) -> None:
    """Without --resume or --restart it is refused; to restart begins with nothing."""
    output = tmp_path / "x.csv"
    for place in (journal_of, partial_of):
        shutil.copy(place(written), place(output))
    with pytest.raises(RunError, match="--resume goes on with"):
        opened(output, resume=False)
    with opened(output, resume=False, restart=True) as ledger:
        assert ledger.kept == 0 and names(ledger) == []
        ledger.remove()
    assert list(tmp_path.iterdir()) == []


def test_another_run_is_not_resumed(written: Path, tmp_path: Path) -> None:
    """Other flags, another model, or inputs that have changed are told, and nothing is lost by it."""
    output = tmp_path / "x.csv"
    for place in (journal_of, partial_of):
        shutil.copy(place(written), place(output))
    with pytest.raises(RunError, match=r"had model digits/2, and this one has digits/3"):
        opened(output, model="digits/3")
    for others in (inputs(39), (broken("other", "") for _ in range(50))):
        with opened(output) as ledger, pytest.raises(RunError, match="the inputs are others"):
            list(ledger.unread(others))
    with opened(output) as ledger:
        assert ledger.kept == 40 and list(ledger.unread(inputs(40))) == []


def test_two_runs_do_not_write_the_same_output(tmp_path: Path) -> None:
    """The second is refused as long as the first runs."""
    with opened(tmp_path / "x.csv"), pytest.raises(RunError, match="another run is writing"):
        opened(tmp_path / "x.csv")
    with opened(tmp_path / "x.csv"):
        pass


def test_features_are_kept_with_their_rows(tmp_path: Path) -> None:
    """Layers of any shape, missing for inputs that failed; a batch holds no more of them than fits into memory."""
    columns = Columns(MODEL, "pool2")
    values = np.random.default_rng(0).normal(size=(3000, 32, 7, 7)).astype(np.float32)
    with Ledger(tmp_path / "x.npz", columns, RUN, resume=False, restart=False) as ledger:
        prediction = Prediction(1, 1.0, False, None, (0.1,) * 10)
        ledger.write([Row("bad", None, "broken")])
        ledger.write([Row(f"{number}", prediction._replace(features=each)) for number, each in enumerate(values)])
        ledger.commit()
        batches = list(ledger.batches())
    assert max(batch.nbytes for batch in batches) < 9 * 2**20
    found = [value for batch in batches for value in batch.column("pool2").to_pylist()]
    assert found[0] is None and np.array_equal(np.array(found[1:], np.float32).reshape(values.shape), values)
