"""`python -m benchmarks.faithfulness`: how true each method's maps are of the network that is served.

The pixels of training digits are taken away, and brought in, in the order of each method's map and in random orders, as
`service.inside.faithfulness` says. Nothing is timed.
"""

import argparse
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.digits import ROOT, model_folder
from service.engine import Engine
from service.inside.attribution import SQUARE, Method, attribute, choose_maps
from service.inside.faithfulness import Faithfulness, measure
from service.inside.probe import Probe
from service.manifest import load_manifest, load_model
from service.runtime import ort
from training.data import Digits, Mnist

_DIGITS = 200
_SEED = 0
_SQUARES = (1, 2, 3, 4, 5, 7, 9, 11)


@dataclass(frozen=True)
class Way:
    """A method with its choice: the layer of Grad-CAM, or the side of the occluding square."""

    method: Method
    layer: str | None = None
    size: int = SQUARE

    def __str__(self) -> str:
        """For a table's cell, such as 'occlusion, 3×3'."""
        if self.method == "occlusion":
            return f"occlusion, {self.size}×{self.size}"
        return f"gradcam, {self.layer}" if self.layer else self.method


@dataclass(frozen=True)
class Score:
    """The areas of one way, digit by digit: under probabilities, and under logits."""

    way: str
    deletion: list[float]
    insertion: list[float]
    logit_deletion: list[float]
    logit_insertion: list[float]

    @property
    def gap(self) -> float:
        """Insertion less deletion, a mean."""
        return round(mean(self.insertion) - mean(self.deletion), 4) + 0.0  # no −0


def ways(probe: Probe) -> list[Way]:
    """All methods, Grad-CAM on every layer of maps, and occlusion by squares of several sizes."""
    layers = [layer.name for layer in probe.manifest.features if len(layer.shape) == 3]
    return [
        Way("saliency"),
        Way("contributions"),
        *(Way("gradcam", layer=layer) for layer in layers),
        *(Way("occlusion", size=size) for size in _SQUARES),
    ]


def score(probe: Probe, way: Way, digits: Digits) -> tuple[Score, Score]:
    """The areas under each digit's own probability and logit, and those of random orders of the same pixels."""
    maps = choose_maps(probe.manifest, way.layer)
    measured: list[Faithfulness] = []
    for image, label in zip(digits.images[:, None], digits.labels.tolist(), strict=True):
        (found,) = attribute(probe, image, way.method, [label], maps=maps, size=way.size)
        measured.append(measure(probe, image, {label: found.map})[label])
    own = Score(
        str(way),
        deletion=[round(each.deletion.area, 4) for each in measured],
        insertion=[round(each.insertion.area, 4) for each in measured],
        logit_deletion=[round(each.deletion.logit_area, 3) for each in measured],
        logit_insertion=[round(each.insertion.logit_area, 3) for each in measured],
    )
    random = Score(
        "random order",
        deletion=[round(each.deletion.random_area, 4) for each in measured],
        insertion=[round(each.insertion.random_area, 4) for each in measured],
        logit_deletion=[round(each.deletion.random_logit_area, 3) for each in measured],
        logit_insertion=[round(each.insertion.random_logit_area, 3) for each in measured],
    )
    return own, random


def write_table(scores: Sequence[Score], random: Score, facts: dict[str, str]) -> str:
    """The page: a row for each way and one for random orders, with means over the digits."""
    lines = [
        "# How true the maps are",
        "",
        "Written by `python -m benchmarks.faithfulness`; every digit's areas are in [faithfulness.json]"
        f"(faithfulness.json). {len(random.deletion)} training digits lose their ink in the order of each method's map "
        "(deletion: the smaller the area under the digit's probability, the better) or get it on black (insertion: the "
        "larger, the better); `service/inside/faithfulness.py` tells how. “Beats random” counts the digits whose map "
        "does better than the mean of five random orders of the same ink. Areas under the digit's logit stand last.",
        "",
        *[f"- {name}: {value}" for name, value in facts.items()],
        "",
        "| order | deletion | beats random | insertion | beats random | insertion − deletion | logit, deletion | "
        "logit, insertion |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in (*scores, random):
        less = more = ""
        if each is not random:
            less = str(sum(own < other for own, other in zip(each.deletion, random.deletion, strict=True)))
            more = str(sum(own > other for own, other in zip(each.insertion, random.insertion, strict=True)))
        lines.append(
            f"| {each.way} | {mean(each.deletion):.3f} | {less} | {mean(each.insertion):.3f} | {more} | "
            f"{each.gap:.3f} | {mean(each.logit_deletion):.2f} | {mean(each.logit_insertion):.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Scores all ways on the same digits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness", description=__doc__)
    parser.add_argument("--digits", type=int, default=_DIGITS, help=f"how many (default: {_DIGITS})")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder (default: benchmarks/)")
    options = parser.parse_args(arguments)
    folder = model_folder()
    manifest = load_manifest(folder)
    probe = Probe(Engine(load_model(folder, manifest), manifest, provider="cpu", threads=1))
    mnist = Mnist().training()
    digits = mnist.take(np.random.default_rng(_SEED).choice(len(mnist), options.digits, replace=False))
    scores = []
    for way in ways(probe):
        own, random = score(probe, way, digits)
        scores.append(own)
        print(f"{way}: {own.gap:.3f}, random orders {random.gap:.3f}", flush=True)
    facts = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "model": f"{manifest.name}/{manifest.version}, float32",
        "digits": f"{options.digits} of the training set, drawn with seed {_SEED}",
        "onnxruntime": ort.__version__,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "faithfulness.json").write_text(
        json.dumps({"facts": facts, "scores": [asdict(each) for each in (*scores, random)]}, separators=(",", ":"))
        + "\n"
    )
    (options.out / "faithfulness.md").write_text(write_table(scores, random, facts))


if __name__ == "__main__":
    main()
