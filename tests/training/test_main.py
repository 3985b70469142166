"""The command line: the whole way from files to a version, its steps, and its exit statuses."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import optimize, special

import training.__main__ as command
from service.manifest import load_manifest
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.configuration import Configuration, Teaching
from training.data import Mnist, split
from training.export import export
from training.fit import STATE_FILE
from training.journal import Journal, read_journal
from training.model import DigitNet
from training.recipe import RECIPES

Run = Callable[..., int]


# It keeps 100 of the 300 digits of the small data set.
SMALL = Configuration(validation=100, corrupted=0.3, copies=1, non_digits=0.15)


@pytest.fixture
def run(small: Callable[..., Mnist], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on the small data set in a folder of its own, where nothing is yet."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(command, "Mnist", small)
    monkeypatch.setattr(command, "RECIPES", {"robust": SMALL})
    return lambda *arguments: command.main(list(arguments))


QUICK = ("--epochs", "1", "--batch", "20", "--device", "cpu")
TRIAL = (*QUICK, "--limit", "60", "--provider", "cpu")


def test_the_whole_way_ends_with_a_version(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command a run trains, exports, verifies and releases; the same command again makes the next version.

    It makes it of the same checkpoint, and says so; trained anew in another folder, the figures are the same.
    """
    assert run(*TRIAL, "--out", "made", "--seed", "7") == 0
    folder = Path("made/digits/1")
    manifest = load_manifest(folder)
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "checkpoint.safetensors",
        "confusion.png",
        "index.npz",
        "manifest.json",
        "misread.png",
        "model.onnx",
        "reliability.png",
        *(variant.file for variant in manifest.variants.values()),
    }
    chosen = {name: manifest.training[name] for name in ("seed", "epochs", "batch", "limit", "digits", "validation")}
    assert chosen == {"seed": 7, "epochs": 1, "batch": 20, "limit": 60, "digits": 60, "validation": 100}
    assert [path.name for path in Path("made/digits").iterdir()] == ["1"]
    (kept,) = Path("runs").iterdir()
    assert {path.name for path in kept.iterdir()} == {"checkpoint.safetensors", "metrics.jsonl", "curves.png"}

    assert run(*TRIAL, "--out", "made", "--seed", "7") == 0
    again = load_manifest(Path("made/digits/2"))
    assert (again.metrics, again.temperature) == (manifest.metrics, manifest.temperature)
    said = capsys.readouterr()
    assert "verified and released" in said.out
    assert said.err == ""
    assert f"this configuration is trained already; remove {kept} to train it anew" in " ".join(said.out.split())

    assert run(*TRIAL, "--out", "made", "--seed", "7", "--runs", "anew") == 0
    anew = load_manifest(Path("made/digits/3"))
    assert (anew.metrics, anew.temperature) == (manifest.metrics, manifest.temperature)


@pytest.mark.usefixtures("without_pictures")
def test_each_step_alone_makes_the_same(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Fetching, fitting, exporting and verifying one after the other end with a version that verifies again."""
    assert run("fetch") == 0
    assert "300 digits for training and 40 for the test" in " ".join(capsys.readouterr().out.split())
    assert run("fit", *QUICK, "--limit", "60", "--runs", "kept") == 0
    (checkpoint,) = Path("kept").glob("*/checkpoint.safetensors")
    assert run("export", "--checkpoint", str(checkpoint), "--out", "made", "--provider", "cpu", "--final") == 0
    figures = load_manifest(Path("made/digits/1")).metrics["seed 0"]
    of_sets = {f"{name}_{figure}" for name in ("validation", "test") for figure in ("accuracy", "loss", "brier")}
    assert figures.keys() == of_sets | {"redrawn_accuracy", "corrupted_accuracy", "non_digits_auc"}
    assert run("verify", "made/digits/1", "--provider", "cpu") == 0
    assert "verified in 117 comparisons" in capsys.readouterr().out


@pytest.mark.usefixtures("without_pictures")
def test_a_checkpoint_is_judged_and_calibrated_on_validation(run: Run, small: Callable[..., Mnist]) -> None:
    """Its figures are those of the 100 digits kept from training, and so is its temperature, which SciPy finds too."""
    assert run("fit", *QUICK, "--limit", "60") == 0
    (path,) = Path("runs").glob("*/checkpoint.safetensors")
    checkpoint = load_checkpoint(path)
    _, validation = split(small().training(), 0, 100)
    logits = checkpoint.network(torch.tensor(validation.images).float()).detach().numpy().astype(np.float64)

    def loss(temperature: float) -> float:
        return float(-special.log_softmax(logits / temperature, axis=1)[range(100), validation.labels].mean())

    found = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9})
    assert checkpoint.temperature == pytest.approx(found.x, rel=1e-3)
    assert checkpoint.metrics == pytest.approx(
        {
            "validation_loss": loss(1),
            "validation_accuracy": np.mean(logits.argmax(axis=1) == validation.labels),
        }
    )
    assert checkpoint.data.keys() == {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"}


@pytest.mark.usefixtures("without_pictures")
def test_settings_count_before_and_after_a_command_s_name(run: Run) -> None:
    """A setting given before the name is not undone by the command's own defaults."""
    assert run("--seed", "3", "--runs", "kept", "fit", *QUICK, "--limit", "40") == 0
    (path,) = Path("kept").glob("*/checkpoint.safetensors")
    configuration = load_checkpoint(path).configuration
    assert (configuration.seed, configuration.limit) == (3, 40)


@pytest.mark.usefixtures("without_pictures")
def test_a_recipe_gives_what_is_not_given(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is the recipe's own, and a recipe that is not there is refused."""
    fast = dataclasses.replace(RECIPES["fast"], validation=100)
    monkeypatch.setattr(command, "RECIPES", {"robust": SMALL, "fast": fast})
    assert run("fit", "--recipe", "fast", "--epochs", "1", "--device", "cpu", "--limit", "40") == 0
    (path,) = Path("runs").glob("*/checkpoint.safetensors")
    assert load_checkpoint(path).configuration == dataclasses.replace(fast, epochs=1, limit=40)
    with pytest.raises(SystemExit):
        run("fit", "--recipe", "quick")


@pytest.mark.usefixtures("without_pictures")
def test_teachers_are_trained_with_the_first_seed_that_needs_them(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version is made of a taught run; the next seed finds teachers and views, and what they cannot do is refused."""
    taught = Configuration(split=0, validation=100, teaching=Teaching(teachers=2, epochs=1, views=2))
    monkeypatch.setattr(command, "RECIPES", {"robust": SMALL, "record": taught})
    assert run("--recipe", "record", *TRIAL, "--out", "made") == 0
    training = load_manifest(Path("made/digits/1")).training
    assert (training["split"], training["teaching"]["views"]) == (0, 2)
    kinds = sorted(path.name.partition("-")[0] for path in Path("runs").iterdir() if "-" in path.name)
    assert kinds == ["lessons", "teacher", "teacher"]

    monkeypatch.setattr("training.teach.train", lambda *_: pytest.fail("a teacher was trained"))
    assert run("fit", "--recipe", "record", *QUICK, "--limit", "60", "--seed", "1") == 0
    assert len(list(Path("runs").glob("*/checkpoint.safetensors"))) == 2
    capsys.readouterr()
    assert run("fit", "--recipe", "record", *QUICK, "--corrupted", "0.3") == 1
    said = capsys.readouterr().err
    assert said == "training: a recipe with teachers takes neither corrupted digits nor non-digits\n"


@pytest.mark.usefixtures("without_pictures")
def test_runs_of_different_settings_have_folders_of_their_own(run: Run) -> None:
    """So that a run never goes on with the state of another."""
    for rate in ("0.01", "0.02"):
        assert run("fit", *QUICK, "--limit", "20", "--learning-rate", rate) == 0
    assert len(list(Path("runs").iterdir())) == 2


@pytest.mark.usefixtures("without_pictures")
def test_ctrl_c_is_130_and_the_same_command_goes_on(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in its second step, a run leaves its state and one sentence; again, it ends as if it never was."""
    original = Journal.write

    def write(self: Journal, **record: float) -> None:
        original(self, **record)
        if record["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", write)
        assert run(*TRIAL, "--out", "made") == 130
    said = capsys.readouterr().err
    assert said.startswith("training: interrupted; ")
    assert said.count("\n") == 1
    assert not Path("made").exists()
    assert len(list(Path("runs").glob(f"*/{STATE_FILE}"))) == 1

    assert run(*TRIAL, "--out", "made") == 0
    assert run(*TRIAL, "--out", "whole", "--runs", "other") == 0
    first, second = (load_manifest(Path(root, "digits", "1")) for root in ("made", "whole"))
    assert first.sha256 == second.sha256


def interrupt(*_: object, **__: object) -> None:
    """Stands for something during which Ctrl-C is pressed."""
    signal.raise_signal(signal.SIGINT)


def no_step(*_: object) -> None:
    """Stands for a step of training where there must be none."""
    pytest.fail("a step was trained")


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("where", ["release", "release.verify", "release.save_manifest"])
def test_a_release_that_was_interrupted_trains_no_step_more(
    run: Run, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Before, within or at the end of it: the same command releases the checkpoint that is there, left as it was."""
    with monkeypatch.context() as patched:
        patched.setattr(f"training.{'__main__.' if where == 'release' else ''}{where}", interrupt)
        assert run(*TRIAL, "--out", "made") == 130
    (kept,) = Path("runs").iterdir()
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert before.keys() == {"checkpoint.safetensors", "metrics.jsonl", "curves.png"}
    assert not Path("made/digits/1").exists()

    monkeypatch.setattr("training.fit._step", no_step)
    assert run(*TRIAL, "--out", "made") == 0
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    trained, released = (load_file(folder / "checkpoint.safetensors") for folder in (kept, Path("made/digits/1")))
    assert trained.keys() == released.keys()
    assert all(torch.equal(value, released[name]) for name, value in trained.items())
    assert [path.name for path in Path("made/digits").iterdir()] == ["1"]


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("where", ["fit_temperature", "draw_curves", "save_checkpoint"])
def test_nothing_is_lost_between_the_last_step_and_the_checkpoint(
    run: Run, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Interrupted there, the state is kept; the same command trains no step more and ends as if it never was."""
    with monkeypatch.context() as patched:
        patched.setattr(command, where, interrupt)
        assert run(*TRIAL, "--out", "made") == 130
    (kept,) = Path("runs").iterdir()
    assert (kept / STATE_FILE).exists()
    assert not (kept / "checkpoint.safetensors").exists()
    steps = read_journal(kept / "metrics.jsonl")
    assert steps[-1]["step"] == 3

    with monkeypatch.context() as patched:
        patched.setattr("training.fit._step", no_step)
        assert run(*TRIAL, "--out", "made") == 0
    assert read_journal(kept / "metrics.jsonl") == steps
    assert not (kept / STATE_FILE).exists()
    assert run(*TRIAL, "--out", "whole", "--runs", "other") == 0
    first, second = (load_manifest(Path(root, "digits", "1")) for root in ("made", "whole"))
    assert first.sha256 == second.sha256


@pytest.mark.usefixtures("without_pictures")
def test_a_damaged_checkpoint_of_a_run_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not trained over in silence: exit status 1, and one sentence names the file."""
    assert run("fit", *QUICK, "--limit", "20") == 0
    (path,) = Path("runs").glob("*/checkpoint.safetensors")
    path.write_bytes(b"")
    assert run("fit", *QUICK, "--limit", "20") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"training: {path} is no checkpoint of this network: ")
    assert said.count("\n") == 1


@pytest.mark.usefixtures("without_pictures")
def test_a_file_that_cannot_be_written_is_one_sentence(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--out and --runs into a file's path, and an error that names no file: exit status 1 each."""
    Path("file").touch()
    assert run(*TRIAL, "--out", "file/models") == 1
    assert capsys.readouterr().err == "training: file/models/digits/.1.partial: Not a directory\n"
    assert run("fit", *QUICK, "--limit", "40", "--runs", "file") == 1
    said = capsys.readouterr().err
    assert said.startswith("training: file")
    assert said.endswith(": Not a directory\n")
    assert said.count("\n") == 1

    def crash(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(command, "fit", crash)
    assert run("fit", *QUICK, "--limit", "40") == 1
    assert capsys.readouterr().err == "training: a file: no space left\n"


def test_a_state_that_cannot_be_written_is_one_sentence(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder lies in its place as the first epoch ends: exit status 1, and the sentence names it."""
    original = Journal.flush

    def flush(self: Journal) -> None:
        original(self)
        for folder in Path("runs").iterdir():
            (folder / f"{STATE_FILE}.partial").mkdir()

    monkeypatch.setattr(Journal, "flush", flush)
    assert run("fit", *QUICK, "--limit", "20") == 1
    (path,) = Path("runs").glob(f"*/{STATE_FILE}.partial")
    assert capsys.readouterr().err == f"training: {path}: Is a directory\n"


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_one_sentence(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """Exit status 1 before anything is read or written, on a machine that has only its CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert run(*TRIAL, "--out", "made", "--device", device) == 1
    assert capsys.readouterr().err == f"training: PyTorch {torch.__version__} cannot use {device} here, only cpu\n"
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("without_pictures")
def test_a_limited_run_into_the_default_root_is_refused_at_once(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails in one sentence before the data is looked at, let alone trained on."""
    monkeypatch.setattr(command, "Mnist", lambda: pytest.fail("the data was looked at"))
    for out in ((), ("--out", "models"), ("--out", str(Path.cwd() / "models"))):
        assert run(*TRIAL, *out) == 1
        assert capsys.readouterr().err == (
            "training: a model of a limited number of digits does not go into models/; name another root by --out\n"
        )
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("without_pictures")
def test_an_inaccurate_model_is_kept_out_of_the_default_root(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained without a limit but hardly at all, its checkpoint stays, and no version is made of it."""
    assert run(*QUICK, "--provider", "cpu") == 1
    said = capsys.readouterr().err
    assert "is below the 99% that models/ asks for" in said
    assert said.count("\n") == 1
    assert not Path("models").exists()
    assert len(list(Path("runs").glob("*/checkpoint.safetensors"))) == 1


@pytest.mark.usefixtures("without_pictures")
def test_a_verification_that_fails_leaves_no_version(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an export that is not of the trained network the command fails in one sentence."""

    def wrong(folded: DigitNet, metadata: Any) -> bytes:
        folded.fc2.bias.data[3] += 1
        exported = export(folded, metadata)
        folded.fc2.bias.data[3] -= 1
        return exported

    monkeypatch.setattr("training.release.export", wrong)
    assert run(*TRIAL, "--out", "made") == 1
    assert capsys.readouterr().err == (
        "training: the engine refuses the model: the golden inputs are answered wrong, by more than 0.001 in a logit\n"
    )
    assert not Path("made").exists()


@pytest.mark.usefixtures("without_pictures")
def test_test_labels_are_read_only_for_final(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without the labels' file the whole way succeeds; with --final it fails for lack of it, and makes nothing."""
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert run(*TRIAL, "--out", "made") == 0
    assert run(*TRIAL, "--out", "final", "--final") == 1
    assert capsys.readouterr().err == f"training: {tmp_path / 'mnist'} has no t10k-labels-idx1-ubyte.gz\n"
    assert not Path("final").exists()


@pytest.mark.usefixtures("without_pictures")
def test_a_version_that_was_changed_is_not_verified(
    run: Run, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another checkpoint beside the model, a changed model or no folder at all: exit status 1 and one sentence."""
    save_checkpoint(checkpoint, Path("some.safetensors"))
    assert run("export", "--checkpoint", "some.safetensors", "--out", "made", "--provider", "cpu") == 0
    folder = Path("made/digits/1")
    checkpoint.network.fc2.bias.data += 0.01
    save_checkpoint(checkpoint, folder / "checkpoint.safetensors")
    assert run("verify", str(folder), "--provider", "cpu") == 1
    assert "not verified in " in capsys.readouterr().err
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    assert run("verify", str(folder)) == 1
    assert "but its manifest says" in capsys.readouterr().err
    for arguments in (("verify", "nowhere"), ("export", "--checkpoint", "nowhere", "--out", "made")):
        assert run(*arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("training: nowhere")
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "0"), "--batch: 0 is less than 1"),
        (("--epochs", "0"), "--epochs: 0 is less than 1"),
        (("--seed", "-1"), "--seed: -1 is less than 0"),
        (("--dropout", "1.5"), "--dropout: 1.5 is more than 1"),
        (("--averaging", "2"), "--averaging: 2 is more than 1"),
        (("--label-smoothing", "nan"), "--label-smoothing: nan is less than 0"),
        (("fit", "--epochs", "x"), "--epochs: 'x' is no whole number\n"),
        (("--batch", "1.5"), "--batch: '1.5' is no whole number\n"),
        (("--dropout", "half"), "--dropout: 'half' is no number\n"),
        (("export",), "--checkpoint"),
    ],
)
def test_senseless_settings_are_refused(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    """The command ends at once with argparse's status, and the message names the flag and the bound."""
    with pytest.raises(SystemExit, match=r"^2$"):
        run(*arguments)
    assert message in capsys.readouterr().err


def test_shapes_prints_the_network_as_served(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the sum of parameters after folding, and no line of it is broken."""
    assert run("shapes") == 0
    said = capsys.readouterr().out
    assert "953,922" in said
    assert "⌊(28 − 3 + 2·1)/1⌋ + 1 = 28" in said


def test_the_process_has_the_exit_status(tmp_path: Path) -> None:
    """`python -m training` ends with status 1 and one sentence where MNIST_DIR names a folder without the files."""
    done = subprocess.run(
        [sys.executable, "-m", "training", "fetch"],
        env=os.environ | {"MNIST_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"training: {tmp_path} has no train-images-idx3-ubyte.gz\n"
