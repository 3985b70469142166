"""Training: stochastic gradient descent that can be interrupted at any step and goes on to the very same weights.

Every random draw of a step comes from a generator seeded by (seed, step), so no state of a generator has to be kept:
weights, momentum, their moving average and the number of steps are the whole state.
"""

import json
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils import deterministic

from training.augment import distort
from training.configuration import Configuration
from training.data import Digits
from training.errors import CheckpointError, TrainingError
from training.journal import Journal
from training.lesson import Lessons, lesson_loss
from training.mixture import Mixture
from training.model import DigitNet, as_input, lay_out, predict
from training.teacher import TeacherNet

STATE_FILE = "state.safetensors"
JOURNAL_FILE = "metrics.jsonl"

N = TypeVar("N", DigitNet, TeacherNet)


def choose_device(name: str) -> torch.device:
    """The device of a name: cpu, cuda, mps, or auto, which is CUDA, else MPS, else the CPU.

    Raises:
        TrainingError: PyTorch cannot use that device here.
    """
    usable = [
        n for n, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there
    ]
    usable.append("cpu")
    if name not in ("auto", *usable):
        raise TrainingError(f"PyTorch {torch.__version__} cannot use {name} here, only {' and '.join(usable)}")
    return torch.device(usable[0] if name == "auto" else name)


def learning_rate(step: int, steps: int, configuration: Configuration) -> float:
    """The rate of a step, counted from 0 of `steps`: a linear warm-up to the peak, then half a cosine to zero."""
    warmup = max(1, round(configuration.warmup * steps))
    if step < warmup:
        return configuration.learning_rate * (step + 1) / warmup
    return configuration.learning_rate * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


class _Run:
    """The state of a run between two steps, kept as one file."""

    def __init__(self, network: nn.Module, configuration: Configuration) -> None:
        self.network = network
        self.configuration = configuration
        self.step = 0  # steps done
        # Biases and BatchNorm's own parameters are not decayed: they do not overfit, and decay only shifts them.
        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
        self.optimizer = torch.optim.SGD(
            [{"params": weights, "weight_decay": configuration.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=configuration.learning_rate,
            momentum=configuration.momentum,
            nesterov=True,
        )
        self.average = AveragedModel(network, avg_fn=self._averaged, use_buffers=True)

    def _averaged(self, averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        # A short run would end with its first weights, were the average as slow from the start as it is later on.
        decay = min(self.configuration.averaging, (1 + int(steps)) / (10 + int(steps)))
        return averaged + (current - averaged) * (1 - decay)

    def _tensors(self) -> dict[str, Tensor]:
        """The live tensors of the whole state by name, momentum made where there is none yet."""
        for parameter in self.network.parameters():
            self.optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            tensors[f"momentum.{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        return tensors

    def save(self, path: Path) -> None:
        partial = path.with_name(f"{path.name}.partial")
        metadata = {"step": str(self.step), "configuration": self.configuration.to_json()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in self._tensors().items()}
        partial.write_bytes(save(tensors, metadata))  # not save_file, whose errors are no OSError
        partial.replace(path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
            if json.loads(metadata["configuration"]) != json.loads(self.configuration.to_json()):
                raise CheckpointError(f"{path} belongs to a run with another configuration; remove it to start anew")
            saved = load_file(path)
            for name, value in self._tensors().items():
                value.copy_(saved[name])
            self.step = int(metadata["step"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} is no state of such a run; remove it to start anew") from error


def fit(
    training: Digits,
    validation: Digits,
    configuration: Configuration,
    run: Path,
    device: torch.device,
    lessons: Lessons | None = None,
) -> DigitNet:
    """Trains the network that is served, with `lessons` where the configuration has teachers; all else as `train`."""
    return train(DigitNet, training, validation, configuration, run, device, lessons)


def train(
    kind: type[N],
    training: Digits,
    validation: Digits,
    configuration: Configuration,
    run: Path,
    device: torch.device,
    lessons: Lessons | None = None,
) -> N:
    """Trains a network, or goes on with a run that was interrupted; returns it on the CPU in eval mode.

    `run` is the run's folder, with its journal and its state. The state stays there, so that nothing is lost before the
    caller has saved the network; with it, a finished run ends at once with the same network again.

    Raises:
        KeyboardInterrupt: Ctrl-C; the state is saved, and the same call goes on from there. A second Ctrl-C does not
            wait for the step under way, whose state is not whole; then the same call goes on from the last one saved.
        CheckpointError: `run` holds the state of another configuration, or a damaged one.
        ValueError: there are lessons without teachers, or teachers without lessons.
    """
    if (lessons is None) != (configuration.teaching is None):
        raise ValueError("a configuration with teachers needs their lessons, and no other can have any")
    torch.manual_seed(configuration.seed)
    pixels = training.images.astype(np.float64)
    run.mkdir(parents=True, exist_ok=True)
    network = kind(pixels.mean(), pixels.std(), configuration.dropout).to(device)
    lay_out(network, torch.channels_last)  # for which convolutions are faster
    state = _Run(network, configuration)
    if (run / STATE_FILE).exists():
        state.load(run / STATE_FILE)
    mixture = Mixture(training, configuration, run)
    per_epoch = math.ceil(len(training) / configuration.batch)
    journal = Journal(run / JOURNAL_FILE, state.step)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    with _deterministic(), _patient_interrupt() as interrupted, Progress(*columns) as progress:
        task = progress.add_task("epoch", total=configuration.epochs * per_epoch, completed=state.step, note="")
        accuracy = "–"
        try:
            for epoch in range(state.step // per_epoch, configuration.epochs):
                order = np.random.default_rng([configuration.seed, epoch]).permutation(len(training))
                for first in range(state.step % per_epoch, per_epoch):
                    places = order[first * configuration.batch : (first + 1) * configuration.batch]
                    started = time.perf_counter()
                    rate, loss = _step(state, lessons or mixture, places, epoch, configuration.epochs * per_epoch)
                    seconds = time.perf_counter() - started
                    journal.write(step=state.step, learning_rate=rate, loss=loss, seconds=seconds)
                    note = f"loss {loss:.3f}  validation {accuracy}"
                    progress.update(task, advance=1, note=note, description=f"epoch {epoch + 1}/{configuration.epochs}")
                    if interrupted() and first + 1 < per_epoch:  # a whole epoch is judged and saved before it stops
                        journal.flush()
                        state.save(run / STATE_FILE)
                        raise KeyboardInterrupt
                scores = evaluate(state.average.module, validation)
                accuracy = f"{scores['accuracy']:.2%}"
                journal.write(step=state.step, epoch=epoch + 1, **scores)
                journal.flush()  # before the state that counts on its lines
                state.save(run / STATE_FILE)
                progress.console.print(f"epoch {epoch + 1}: validation loss {scores['loss']:.4f}, accuracy {accuracy}")
                if interrupted():
                    raise KeyboardInterrupt
        finally:
            journal.close()
        # The averaged weights have seen no batch themselves, so their population statistics are taken anew.
        update_bn((as_input(torch.from_numpy(part), network) for part in mixture.population(1000)), state.average)
        if interrupted():
            raise KeyboardInterrupt
    trained = cast("N", state.average.module).cpu().eval()
    lay_out(trained, torch.contiguous_format)
    return trained


def _step(
    state: _Run, source: Mixture | Lessons, places: NDArray[np.intp], epoch: int, steps: int
) -> tuple[float, float]:
    """One step on a batch of these training digits; returns its learning rate and its loss."""
    configuration = state.configuration
    seed = int(np.random.SeedSequence([configuration.seed, state.step]).generate_state(1)[0])
    torch.manual_seed(seed)  # of Dropout, which takes no generator
    chances = None
    if isinstance(source, Lessons):
        digits, seen = source.batch(places, epoch)
        images, chances = as_input(torch.from_numpy(digits.images), state.network), torch.from_numpy(seen)
    else:
        digits = source.batch(places, np.random.default_rng(seed))
        images = distort(
            as_input(torch.from_numpy(digits.images), state.network),
            configuration.distortion,
            torch.Generator().manual_seed(seed),
        )
    labels = torch.from_numpy(digits.labels).to(images.device, torch.long)
    rate = learning_rate(state.step, steps, configuration)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.network.train()
    logits = state.network(images.contiguous(memory_format=torch.channels_last))
    if chances is not None and configuration.teaching:
        loss = lesson_loss(logits, labels, chances.to(images.device), configuration.teaching)
    else:
        loss = digit_loss(logits, labels, configuration)
    state.optimizer.zero_grad()
    torch.autograd.backward(loss)
    state.optimizer.step()
    state.average.update_parameters(state.network)
    state.step += 1
    return rate, loss.item()


def digit_loss(logits: Tensor, labels: Tensor, configuration: Configuration) -> Tensor:
    """Mean cross-entropy in nats, a scalar, of logits (n, 10) and labels int64 (n,).

    With non-digits it is that of eleven classes, of which `NONE` has a logit fixed at 0. So log Σ exp(logits), the
    energy of W. Liu, X. Wang, J. Owens and Y. Li, "Energy-based out-of-distribution detection" (arXiv:2010.03759), is
    trained to be the log-odds of there being a digit, and the ten logits are all that the network has to give.
    """
    if configuration.non_digits:
        logits = torch.cat((logits, logits.new_zeros(len(logits), 1)), dim=1)
    return functional.cross_entropy(logits, labels, label_smoothing=configuration.label_smoothing)


def evaluate(network: nn.Module, digits: Digits) -> dict[str, float]:
    """Mean cross-entropy in nats (`loss`) and the fraction read right (`accuracy`)."""
    network.eval()
    logits = predict(network, torch.from_numpy(digits.images), batch=100).double()
    labels = torch.from_numpy(digits.labels).long()
    return {
        "loss": functional.cross_entropy(logits, labels).item(),
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
    }


@contextmanager
def _deterministic() -> Iterator[None]:
    """Only algorithms that give the same result twice, where there is a choice."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS has no such algorithms
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = deterministic  # PyTorch's types do not know what it has
    filling = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # which only finds mistakes, and takes its time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filling


@contextmanager
def _patient_interrupt() -> Iterator["Interrupted"]:
    """Lets the step under way finish before Ctrl-C takes effect; a second Ctrl-C does not wait."""
    interrupted = Interrupted()
    try:
        previous = signal.signal(signal.SIGINT, interrupted.handle)
    except ValueError:  # not in the main thread, where no signal arrives
        yield interrupted
        return
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


class Interrupted:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self._pressed = False

    def __call__(self) -> bool:
        """Whether it was, so far."""
        return self._pressed

    def handle(self, _signal: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        if self._pressed:
            raise KeyboardInterrupt
        self._pressed = True
