"""`python -m training`: from MNIST's files to a verified model version, or one step of that way."""

import argparse
import dataclasses
import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from service.errors import DigitscopeError
from service.manifest import load_manifest, load_model
from training.calibrate import fit_temperature
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.configuration import Configuration
from training.data import Mnist, split
from training.errors import TrainingError
from training.fit import JOURNAL_FILE, STATE_FILE, choose_device, evaluate, fit
from training.index import add_index
from training.journal import read_journal
from training.mixture import CORRUPTED_FILE, NON_DIGITS_FILE
from training.model import ARCHITECTURE, predict
from training.recipe import RECIPES, SEEDS
from training.release import CHECKPOINT_FILE, DEFAULT_ROOT, release, require_default_root_unlimited
from training.report import CARD_FILE, draw_curves, layer_table
from training.teach import teach
from training.variant import add_int8
from training.verify import TOLERANCE, verify

_OUT = Console()
# Not the parsers' own defaults: those of a command's parser would undo what was given before the command's name.
_DEFAULTS: dict[str, Any] = {
    "device": "auto",
    "runs": Path("runs"),
    "provider": "auto",
    "out": DEFAULT_ROOT,
    "final": False,
    "recipe": "robust",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 done, 1 failed with one sentence, 130 interrupted by Ctrl-C."""
    options = _parser().parse_args(arguments, argparse.Namespace(**_DEFAULTS))
    try:
        options.command(options)
    except (TrainingError, DigitscopeError) as error:
        _say_failure(str(error))
        return 1
    except OSError as error:
        _say_failure(f"{error.filename or 'a file'}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        _say_failure("interrupted; the same command goes on with the training where it stopped")
        return 130
    return 0


def _say_failure(sentence: str) -> None:
    print(f"training: {sentence}", file=sys.stderr)


def _pipeline(options: argparse.Namespace) -> None:
    _release_trained(options, [_configuration(options)])


def _reproduce(options: argparse.Namespace) -> None:
    configuration = _configuration(options)
    _release_trained(options, [dataclasses.replace(configuration, seed=seed) for seed in SEEDS])


def _release_trained(options: argparse.Namespace, configurations: Sequence[Configuration]) -> None:
    require_default_root_unlimited(options.out, configurations[0].limit)
    mnist = Mnist()
    checkpoints = [_trained(options, mnist, configuration) for configuration in configurations]
    _say_released(release(checkpoints, mnist, options.out, final=options.final, provider=options.provider))


def _fetch(_: argparse.Namespace) -> None:
    mnist = Mnist()
    training, test = mnist.training(), mnist.test()
    _OUT.print(f"{len(training):,} digits for training and {len(test):,} for the test are there and as published")


def _fit(options: argparse.Namespace) -> None:
    _trained(options, Mnist(), _configuration(options))


def _export(options: argparse.Namespace) -> None:
    checkpoint = load_checkpoint(options.checkpoint)
    _say_released(release([checkpoint], Mnist(), options.out, final=options.final, provider=options.provider))


def _verify(options: argparse.Namespace) -> None:
    manifest = load_manifest(options.version)
    model = load_model(options.version, manifest)
    checkpoint = load_checkpoint(options.version / CHECKPOINT_FILE)
    images = Mnist().test_images()
    deviations = verify(checkpoint.network, checkpoint.temperature, model, manifest, images, options.provider)
    worst = max(deviations, key=lambda deviation: deviation.difference)
    _OUT.print(f"verified in {len(deviations)} comparisons, each within {TOLERANCE:g}; the largest: {worst}")


def _quantise(options: argparse.Namespace) -> None:
    variant = add_int8(options.version, Mnist())
    figures = ", ".join(f"{name} {value:.4f}" for name, value in variant.metrics.items())
    _OUT.print(f"verified and added: {options.version / variant.file}: agreement {variant.agreement:.4f}, {figures}")


def _index(options: argparse.Namespace) -> None:
    index = add_index(options.version, Mnist())
    figures = ", ".join(f"{name} {value:.4f}" for name, value in index.metrics.items())
    _OUT.print(f"added: {options.version / index.file}: {index.prototypes:,} prototypes, {figures}")


def _shapes(_: argparse.Namespace) -> None:
    wide = Console(width=max(_OUT.width, 112))  # a folded formula cannot be read; a terminal can be widened
    wide.print(layer_table(ARCHITECTURE))


def _trained(options: argparse.Namespace, mnist: Mnist, configuration: Configuration) -> Checkpoint:
    """Trains a configuration, in a run folder that belongs to it alone."""
    device = choose_device(options.device)
    run = options.runs / hashlib.sha256(configuration.to_json().encode()).hexdigest()[:12]
    if (run / CHECKPOINT_FILE).exists():
        _OUT.print(f"this configuration is trained already; remove {run} to train it anew")
        return load_checkpoint(run / CHECKPOINT_FILE)
    training, validation = split(mnist.training(), configuration.split_seed, configuration.validation)
    if configuration.limit:
        training = training.take(slice(configuration.limit))
    _OUT.print(f"training on {len(training):,} digits on {device}; the run is kept in {run}")
    lessons = teach(training, validation, configuration, options.runs, device)
    network = fit(training, validation, configuration, run, device, lessons)
    logits = predict(network, torch.from_numpy(validation.images))
    scores = evaluate(network, validation)
    checkpoint = Checkpoint(
        network,
        configuration,
        temperature=fit_temperature(logits, torch.from_numpy(validation.labels).long()),
        digits=len(training),
        metrics={f"validation_{name}": value for name, value in scores.items()},
        data=dict(mnist.hashes),
    )
    draw_curves(read_journal(run / JOURNAL_FILE), run / "curves.png")
    save_checkpoint(checkpoint, run / CHECKPOINT_FILE)
    for name in (STATE_FILE, CORRUPTED_FILE, NON_DIGITS_FILE):
        (run / name).unlink(missing_ok=True)
    _OUT.print(f"validation accuracy {scores['accuracy']:.2%}; checkpoint {run / CHECKPOINT_FILE}")
    return checkpoint


def _configuration(options: argparse.Namespace) -> Configuration:
    chosen = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Configuration)}
    given = {name: value for name, value in chosen.items() if value is not None}
    return dataclasses.replace(RECIPES[options.recipe], **given)


def _say_released(folder: Path) -> None:
    manifest = load_manifest(folder)
    for seed, values in manifest.metrics.items():
        _OUT.print(f"{seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    if not manifest.variants:
        _OUT.print(f"released without an int8 variant; {folder / CARD_FILE} says why")
    _OUT.print(f"verified and released: {folder}")


def _parser() -> argparse.ArgumentParser:
    default = RECIPES[_DEFAULTS["recipe"]]
    fitting = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    fitting.add_argument(
        "--recipe", choices=RECIPES, help=f"what the following are taken from (default {_DEFAULTS['recipe']})"
    )
    for name, kind, least, most, unit in (
        ("seed", int, 0, math.inf, "of everything random in the run"),
        ("epochs", int, 1, math.inf, "times that every training digit is seen"),
        ("batch", int, 1, math.inf, "digits a step"),
        ("learning_rate", float, 0, math.inf, "at its peak"),
        ("weight_decay", float, 0, math.inf, "a step, before the learning rate"),
        ("dropout", float, 0, 1, "chance from 0 to 1 that a unit of fc1 is dropped in a step"),
        ("label_smoothing", float, 0, 1, "share from 0 to 1 of a label that is spread over all digits"),
        ("averaging", float, 0, 1, "decay from 0 to 1 a step of the moving average of the weights"),
        ("corrupted", float, 0, 1, "share from 0 to 1 of the digits that are corrupted ones"),
        ("non_digits", float, 0, math.inf, "pictures of no digit for each digit"),
        ("limit", int, 0, math.inf, "training digits to use, 0 for all; for trials, so never into the default root"),
    ):
        flag, text = f"--{name.replace('_', '-')}", f"{unit} (in the default recipe {getattr(default, name)})"
        fitting.add_argument(flag, type=_number(kind, least, most), metavar="N", help=text)
    devices = ("auto", "cpu", "cuda", "mps")
    fitting.add_argument("--device", choices=devices, help="to train on (default auto: a GPU where there is one)")
    fitting.add_argument("--runs", type=Path, metavar="DIR", help="where checkpoints and metrics go (default runs)")
    running = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    providers = ("auto", "cuda", "tensorrt", "cpu")
    running.add_argument("--provider", choices=providers, help="of ONNX Runtime (default auto)")
    releasing = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    releasing.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the models root; the result is DIR/digits/<n>/ (default models, for validation accuracies of 99 %% on)",
    )
    releasing.add_argument(
        "--final", action="store_true", help="read the test labels, once, and put the test figures into the card"
    )

    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Without a command: the whole way from the data to a verified model version. MNIST is read from "
        "the folder that MNIST_DIR names, else from the user's cache, else downloaded into it.",
        parents=[fitting, releasing, running],
    )
    parser.set_defaults(command=_pipeline)
    commands = parser.add_subparsers(title="one step alone", metavar="COMMAND")
    for name, function, parents, text in (
        ("fetch", _fetch, [], "find or download MNIST's four files and check them"),
        ("fit", _fit, [fitting], "train; the result is a checkpoint"),
        ("reproduce", _reproduce, [fitting, releasing, running], "train seeds 0 to 4 and release the median one"),
        ("export", _export, [releasing, running], "make a verified model version of a checkpoint"),
        ("verify", _verify, [running], "verify a model version again, against its checkpoint"),
        ("quantise", _quantise, [], "add a verified int8 variant to a model version"),
        ("index", _index, [], "add the index of training digits, for looking inside, to a model version"),
        ("shapes", _shapes, [], "print the table of layers"),
    ):
        command = commands.add_parser(name, parents=parents, help=text, description=text)
        command.set_defaults(command=function)
        if function is _export:
            command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
        if function in {_verify, _quantise, _index}:
            command.add_argument("version", type=Path, metavar="DIR", help="such as models/digits/1")
    return parser


def _number(kind: type[int] | type[float], least: int, most: float) -> Callable[[str], float]:
    """A parser of numbers from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{text}' is no {'whole ' if kind is int else ''}number") from error
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most:g}")
        return value

    return parse


if __name__ == "__main__":
    sys.exit(main())
