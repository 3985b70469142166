"""Training: what it reaches, that it repeats itself, and that it goes on after an interruption."""

import dataclasses
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch.optim.swa_utils import AveragedModel

from training.augment import Distortion
from training.configuration import Configuration
from training.data import Digits
from training.errors import CheckpointError, TrainingError
from training.fit import JOURNAL_FILE, STATE_FILE, choose_device, digit_loss, evaluate, fit, learning_rate
from training.journal import Journal, read_journal
from training.model import DigitNet

Outcome = tuple[DigitNet, list[dict[str, Any]]]

CPU = torch.device("cpu")
SHORT = Configuration(seed=5, epochs=3, batch=16)  # three steps an epoch of 40 digits
NONE = Distortion(rotation=0, scale=0, shear=0, shift=0, elastic=0)


def run(digits: Digits, folder: Path, configuration: Configuration = SHORT) -> DigitNet:
    """Trains on 40 digits; 20 others judge."""
    return fit(digits.take(slice(40)), digits.take(slice(40, 60)), configuration, folder, CPU)


def journal(folder: Path) -> list[dict[str, Any]]:
    """The journal without its times."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_journal(folder / JOURNAL_FILE)]


def same(first: DigitNet, second: DigitNet) -> bool:
    """Whether two networks are equal bit for bit."""
    others = second.state_dict()
    return all(torch.equal(value, others[name]) for name, value in first.state_dict().items())


@pytest.fixture(scope="module")
def whole(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run that nobody interrupts, and its journal."""
    folder = tmp_path_factory.mktemp("whole")
    return run(digits, folder), journal(folder)


def test_200_digits_can_be_learnt_by_heart(digits: Digits, tmp_path: Path) -> None:
    """Without distortion and Dropout a few epochs read every training digit right: loss and gradients are wired up."""
    some = digits.take(slice(200))
    configuration = Configuration(
        seed=1, epochs=8, batch=20, dropout=0, label_smoothing=0, distortion=NONE, averaging=0.9
    )
    network = fit(some, digits.take(slice(200, 210)), configuration, tmp_path, CPU)
    assert evaluate(network, some)["accuracy"] == 1
    assert evaluate(network, some)["loss"] < 0.05
    losses = [line["loss"] for line in journal(tmp_path) if "epoch" not in line]
    assert losses[0] == pytest.approx(math.log(10), abs=0.8)  # an untrained network knows nothing


def test_a_run_keeps_its_journal(whole: Outcome) -> None:
    """Each step has its rate and loss, each epoch its scores, and the network comes back in eval mode."""
    network, lines = whole
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9]
    assert [line["epoch"] for line in lines if "epoch" in line] == [1, 2, 3]
    for line in lines:
        assert line.keys() == (
            {"step", "epoch", "loss", "accuracy"} if "epoch" in line else {"step", "learning_rate", "loss"}
        )
    assert not network.training


def test_training_is_its_equations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps on all images at once equal Nesterov's, smoothed labels', decay's and averaging's formulas.

    The images are noise, as the maxima in a digit's black ground are ties, which rounding breaks one way or the other.
    """
    configuration = Configuration(epochs=3, batch=40, dropout=0, label_smoothing=0.1, weight_decay=0.02, averaging=0.2)
    judged: list[torch.Tensor] = []

    def judge(network: DigitNet, _: Digits) -> dict[str, float]:
        judged.append(network.fc2.bias.detach().clone())
        return {"loss": 0, "accuracy": 0}

    monkeypatch.setattr("training.fit.evaluate", judge)
    monkeypatch.setattr("training.fit.distort", lambda images, *_: images)
    generator = np.random.default_rng(0)
    noise = Digits(
        generator.integers(0, 256, (60, 1, 28, 28), dtype=np.uint8), generator.integers(0, 10, 60, dtype=np.uint8)
    )
    trained = run(noise, tmp_path, configuration)

    images, labels = torch.tensor(noise.images[:40]).float(), torch.tensor(noise.labels[:40]).long()
    torch.manual_seed(configuration.seed)
    network = DigitNet(trained.mean, trained.std, 0)
    names, weights = zip(*network.named_parameters(), strict=True)
    velocities = [torch.zeros_like(weight) for weight in weights]
    averages: list[torch.Tensor] = []
    rate = configuration.learning_rate
    for step, now in enumerate((rate, rate, rate / 2)):
        chances = network(images).log_softmax(1)
        loss = -(0.9 * chances[range(40), labels] + 0.1 * chances.mean(1)).mean()
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient, velocity in zip(weights, gradients, velocities, strict=True):
                slope = gradient + (0.02 * weight if weight.ndim > 1 else 0)
                velocity.mul_(0.9).add_(slope)
                weight.sub_(now * (slope + 0.9 * velocity))
            kept = min(0.2, (1 + step) / (10 + step))
            averages = [
                kept * average + (1 - kept) * weight
                for average, weight in zip(averages or weights, weights, strict=True)
            ]
        torch.testing.assert_close(judged[step], averages[-1], rtol=0, atol=1e-6)  # fc2's bias comes last
    for name, average in zip(names, averages, strict=True):
        torch.testing.assert_close(trained.get_parameter(name), average, rtol=0, atol=1e-6, msg=f"{name} differs")

    assert isinstance(trained.norm1, torch.nn.BatchNorm2d)
    with torch.no_grad():
        maps = trained.conv1((images - trained.mean) / trained.std)
    assert trained.norm1.running_mean is not None and trained.norm1.running_var is not None
    torch.testing.assert_close(trained.norm1.running_mean, maps.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(trained.norm1.running_var, maps.var((0, 2, 3)), rtol=1e-5, atol=1e-6)


def test_normalisation_is_that_of_the_training_pixels(whole: Outcome, digits: Digits) -> None:
    """Mean and standard deviation are those of the digits that were trained on, and of no other."""
    pixels = digits.images[:40].astype(np.float64)
    assert (whole[0].mean, whole[0].std) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-12)


def test_the_same_seed_ends_with_the_same_weights(whole: Outcome, digits: Digits, tmp_path: Path) -> None:
    """Bit for bit, with the same journal, and nothing beside it but the state; another seed ends with others."""
    torch.rand(7)  # the generator's state before a run is no part of it
    assert same(run(digits, tmp_path / "again"), whole[0])
    assert journal(tmp_path / "again") == whole[1]
    assert {path.name for path in (tmp_path / "again").iterdir()} == {JOURNAL_FILE, STATE_FILE}
    other = run(digits, tmp_path / "other", dataclasses.replace(SHORT, seed=6))
    assert not same(other, whole[0])


def interrupted_run(
    digits: Digits, folder: Path, owner: type = Journal, name: str = "write", call: int = 2, times: int = 1
) -> None:
    """A run in which Ctrl-C is pressed as a method is called, by the call's number from 1."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def interrupting(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return original(*arguments, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, interrupting)
        with pytest.raises(KeyboardInterrupt):
            run(digits, folder)


@pytest.mark.parametrize("record", [1, 3, 4, 6, 11, 12])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    whole: Outcome, digits: Digits, tmp_path: Path, record: int
) -> None:
    """Ctrl-C within, at the end of, and between epochs: weights and journal are the uninterrupted run's."""
    interrupted_run(digits, tmp_path, call=record)
    assert (tmp_path / STATE_FILE).exists()
    assert 0 < len(journal(tmp_path)) <= record + 1
    assert same(run(digits, tmp_path), whole[0])
    assert journal(tmp_path) == whole[1]


def test_a_finished_run_ends_at_once_with_the_same_network(
    whole: Outcome, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is called again: bit for bit, without a step, with state and journal as they were."""
    assert same(run(digits, tmp_path), whole[0])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {JOURNAL_FILE, STATE_FILE}
    monkeypatch.setattr("training.fit._step", lambda *_: pytest.fail("a step was trained"))
    for _ in range(2):
        network = run(digits, tmp_path)
        assert same(network, whole[0])
        assert not network.training
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_interrupted_twice_goes_on_to_the_same_weights(whole: Outcome, digits: Digits, tmp_path: Path) -> None:
    """Each going on may itself be interrupted."""
    for record in (2, 4):
        interrupted_run(digits, tmp_path, call=record)
    assert same(run(digits, tmp_path), whole[0])
    assert journal(tmp_path) == whole[1]


@pytest.mark.parametrize("step", [2, 5])
def test_an_impatient_interrupt_tears_no_state(whole: Outcome, digits: Digits, tmp_path: Path, step: int) -> None:
    """A second Ctrl-C stops within a step, between weights and their average; what goes on starts from a whole step."""
    interrupted_run(digits, tmp_path, AveragedModel, "update_parameters", step, times=2)
    assert same(run(digits, tmp_path), whole[0])
    assert journal(tmp_path) == whole[1]


def test_a_killed_run_goes_on_from_its_last_epoch(
    whole: Outcome, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends at once after its second epoch has left state and journal from which to reach the same."""
    kept: dict[str, bytes] = {}

    def keep(folder: Path) -> None:
        kept.update({path.name: path.read_bytes() for path in folder.iterdir()})

    original = Journal.write

    def write(self: Journal, **record: float) -> None:
        original(self, **record)
        if record["step"] == 8:  # in the third epoch: what lies on the disk now is what a kill would leave
            keep(tmp_path / "killed")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", write)
        run(digits, tmp_path / "killed")
    (tmp_path / "next").mkdir()
    for name, content in kept.items():
        (tmp_path / "next" / name).write_bytes(content)
    assert [line["step"] for line in journal(tmp_path / "next")][-2:] == [6, 6]
    assert same(run(digits, tmp_path / "next"), whole[0])
    assert journal(tmp_path / "next") == whole[1]


def test_ctrl_c_after_the_last_step_counts_too(whole: Outcome, digits: Digits, tmp_path: Path) -> None:
    """Pressed while the population statistics are taken, it still stops the run, which then ends as ever."""
    interrupted_run(digits, tmp_path, AveragedModel, "forward", call=1)
    assert same(run(digits, tmp_path), whole[0])
    assert journal(tmp_path) == whole[1]


def test_ctrl_c_works_as_before_after_a_run(whole: object) -> None:
    """The handler of signals that was there is there again."""
    assert whole
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_state_of_another_configuration_is_refused(digits: Digits, tmp_path: Path) -> None:
    """One sentence names the file, and neither state nor journal is touched."""
    interrupted_run(digits, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=f"^{tmp_path / STATE_FILE} belongs to a run with another configuration"):
        run(digits, tmp_path, dataclasses.replace(SHORT, learning_rate=0.01))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_state_is_refused(digits: Digits, tmp_path: Path) -> None:
    """A state that was cut is told in one sentence that names the file."""
    interrupted_run(digits, tmp_path)
    path = tmp_path / STATE_FILE
    for damaged in (path.read_bytes()[:-9], b""):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"^{path} is no state of such a run; remove it to start anew$"):
            run(digits, tmp_path)


@pytest.mark.parametrize("steps", [10, 99, 1000])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(steps: int) -> None:
    """A tenth of the steps rises evenly from a low rate, the rest follows half a cosine and ends near zero."""
    rates = [learning_rate(step, steps, Configuration(learning_rate=0.06)) for step in range(steps)]
    warmup = round(steps / 10)
    np.testing.assert_allclose(rates[:warmup], 0.06 * np.arange(1, warmup + 1) / warmup)
    falling = 0.03 * (1 + np.cos(np.linspace(0, np.pi, steps - warmup, endpoint=False)))
    np.testing.assert_allclose(rates[warmup:], falling, atol=1e-15)
    assert max(rates) == pytest.approx(0.06)
    assert 0 < rates[-1] < 0.06 * 0.04


def test_the_journal_s_rates_are_the_schedule_s(whole: Outcome) -> None:
    """Step n of the run has the schedule's rate n, counted from 0, over all nine steps."""
    rates = [line["learning_rate"] for line in whole[1] if "epoch" not in line]
    assert rates == [learning_rate(step, 9, SHORT) for step in range(9)]


def test_evaluate_gives_mean_cross_entropy_and_accuracy(network: DigitNet, digits: Digits) -> None:
    """Both figures equal NumPy's from the network's logits."""
    some = digits.take(slice(30))
    logits = network(torch.tensor(some.images).float()).detach().numpy().astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = evaluate(network.train(), some)
    assert scores["loss"] == pytest.approx(-np.log(chances[range(30), some.labels]).mean(), rel=1e-5)
    assert scores["accuracy"] == np.mean(logits.argmax(axis=1) == some.labels)


def test_a_device_can_be_named() -> None:
    """The CPU is taken where it is asked for, and `auto` names a device that computes."""
    assert choose_device("cpu") == CPU
    assert torch.ones(1, device=choose_device("auto")).item() == 1


@pytest.mark.parametrize(
    ("cuda", "mps", "best", "usable"),
    [
        (True, True, "cuda", "cuda and mps and cpu"),
        (True, False, "cuda", "cuda and cpu"),
        (False, True, "mps", "mps and cpu"),
        (False, False, "cpu", "cpu"),
    ],
)
def test_a_device_that_pytorch_cannot_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str, usable: str
) -> None:
    """`auto` takes the best of those that are there, each of them can be named, and another gives one sentence."""
    there = {"cuda": cuda, "mps": mps, "cpu": True}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(best)
    for name, is_there in there.items():
        if is_there:
            assert choose_device(name) == torch.device(name)
        else:
            with pytest.raises(TrainingError, match=rf"^PyTorch \S+ cannot use {name} here, only {usable}$"):
                choose_device(name)


def test_non_digits_are_an_eleventh_class_of_logit_zero() -> None:
    """The loss is SciPy's log-softmax over ten logits and a zero; without non-digits it is that of the ten."""
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(0, 3, (20, 10)), generator.integers(0, 11, 20)
    given, wanted = torch.tensor(logits), torch.tensor(labels)
    mixed = dataclasses.replace(SHORT, non_digits=0.1)
    expected = -special.log_softmax(np.column_stack((logits, np.zeros(20))), axis=1)[range(20), labels].mean()
    assert digit_loss(given, wanted, mixed).item() == pytest.approx(expected)
    alone = wanted.clamp(max=9)
    expected = -special.log_softmax(logits, axis=1)[range(20), alone.numpy()].mean()
    assert digit_loss(given, alone, SHORT).item() == pytest.approx(expected)


def test_a_mixed_run_goes_on_to_the_same_weights(digits: Digits, tmp_path: Path) -> None:
    """With corrupted digits and non-digits too: interrupted or not, bit for bit, and not to a plain run's."""
    mixed = dataclasses.replace(SHORT, corrupted=0.4, copies=1, non_digits=0.3)
    whole = run(digits, tmp_path / "whole", mixed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "__defaults__", (mixed,))
        interrupted_run(digits, tmp_path / "cut", call=4)
    assert same(run(digits, tmp_path / "cut", mixed), whole)
    assert not same(whole, run(digits, tmp_path / "plain"))
