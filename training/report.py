"""What a person reads about a model: its card, its pictures, and the table of its layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table

from service.layer import Layer
from service.manifest import MODEL_FILE, Manifest
from service.rejection import evidence
from training.configuration import split_seed
from training.corruption import CORRUPTIONS
from training.evaluation import Evaluation, interval
from training.nondigit import NON_DIGITS
from training.recipe import ABLATIONS
from training.robustness import REDRAWN, Robustness
from training.verify import BATCHES, TOLERANCE, Deviation

_COLUMNS = 12  # of the picture of misread digits
_SHOWN = 120  # misread digits at most: more of them would tell a reader nothing further
_BINS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1)  # of confidence: most digits are read with more than 0.99
CARD_FILE = "README.md"
MISLABELLED = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
"""Test images whose label fewer than three of five people found right, by their place in the set.

C. Northcutt, A. Athalye and J. Mueller, "Pervasive label errors in test sets destabilize machine learning benchmarks"
(arXiv:2103.14749); the places are those of the study that its authors published with it.
"""
_VARIANTS = "## Variants"
_INDEX = "## Index"
_LIMITS = "## Limits"


def draw_curves(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Loss a step and validation accuracy an epoch, of a run's journal, as a PNG."""
    steps = [record for record in records if "epoch" not in record]
    epochs = [record for record in records if "epoch" in record]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy([r["step"] for r in steps], [r["loss"] for r in steps], lw=0.5, alpha=0.6, label="training, a step")
    left.semilogy([r["step"] for r in epochs], [r["loss"] for r in epochs], marker=".", label="validation, averaged")
    left.set(xlabel="step", ylabel="cross-entropy (nats)")
    left.legend()
    right.plot([r["epoch"] for r in epochs], [100 * r["accuracy"] for r in epochs], marker=".")
    right.set(xlabel="epoch", ylabel="validation accuracy (%)")
    figure.savefig(path, dpi=120)


def draw_confusion(evaluation: Evaluation, path: Path) -> None:
    """The confusion matrix as a PNG: rows are labels, columns the digits read; only the errors are coloured."""
    confusion = evaluation.confusion
    errors = confusion.astype(float)
    np.fill_diagonal(errors, np.nan)
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(errors, cmap="Purples", vmin=0)
    ceiling = np.nanmax(errors)
    for (label, digit), count in np.ndenumerate(confusion):
        if count:
            dark = label != digit and count > 0.6 * ceiling
            axes.text(digit, label, str(count), ha="center", va="center", color="white" if dark else "black", size=8)
    axes.set(xticks=range(10), yticks=range(10), xlabel="digit read", ylabel="label")
    axes.set_title(f"{evaluation.name}: {len(evaluation.misread)} of {len(evaluation.digits):,} misread")
    figure.colorbar(image, label="misread digits", shrink=0.8)
    figure.savefig(path, dpi=120)


def draw_misread(evaluation: Evaluation, path: Path) -> None:
    """The misread digits as a PNG, each with its place in the set, its label, the digit read and the confidence."""
    places = evaluation.misread[:_SHOWN]
    rows = max(1, -(-len(places) // _COLUMNS))
    tile, caption = 32, 14  # in pixels of the digits
    mosaic = np.zeros((rows * (tile + caption), _COLUMNS * tile), np.uint8)
    figure = Figure(figsize=(_COLUMNS, rows * (tile + caption) / tile + 0.3), layout="constrained")
    axes = figure.subplots()
    for number, place in enumerate(places):
        row, column = divmod(number, _COLUMNS)
        top, left = row * (tile + caption), column * tile
        mosaic[top + caption : top + caption + 28, left + 2 : left + 30] = evaluation.digits.images[place, 0]
        digit = evaluation.predictions[place]
        confidence = evaluation.probabilities[place, digit]
        text = f"#{place}\n{evaluation.digits.labels[place]} read {digit} ({confidence:.0%})"
        axes.text(left + tile / 2, top + caption - 1, text, size=6.5, ha="center", va="bottom")
    axes.imshow(mosaic, cmap="gray_r", vmin=0, vmax=255)
    axes.axis("off")
    axes.set_title(f"{evaluation.name}: {len(places)} of {len(evaluation.misread)} misread digits", size=9)
    figure.savefig(path, dpi=100)


def draw_reliability(evaluation: Evaluation, path: Path) -> None:
    """The reliability diagram as a PNG: how often each confidence was right, with the bootstrap's 95 % intervals."""
    confidences = evaluation.probabilities.max(axis=1)
    right = (evaluation.predictions == evaluation.digits.labels).astype(np.float64)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    bins = np.digitize(confidences, _BINS[1:-1])
    for number in np.unique(bins):
        inside = bins == number
        mean, (low, high) = right[inside].mean(), interval(right[inside])
        axes.errorbar(
            confidences[inside].mean(), mean, [[mean - low], [high - mean]], fmt="o", color="tab:purple", capsize=3
        )
        axes.annotate(
            f"{inside.sum():,}", (confidences[inside].mean(), mean), (6, -12), textcoords="offset points", size=7
        )
    line = np.linspace(0.25, 0.9999, 500)
    axes.plot(line, line, lw=0.8, color="grey")
    axes.set_xscale("logit", one_half="0.5")  # or nearly all would lie upon each other at 1
    axes.set(xlabel="mean confidence", ylabel="share read right", ylim=(0.2, 1.02))
    axes.set_title(f"{evaluation.name}: confidence and truth, images in each bin", size=9)
    figure.savefig(path, dpi=120)


def layer_table(layers: Sequence[Layer]) -> Table:
    """The layers with hyperparameters, output size and its formula, parameters and multiply-adds."""
    table = Table(title="digitscope: one 28×28 image through the network as served", show_footer=True)
    table.add_column("layer", footer="all")
    table.add_column("operator")
    table.add_column("output")
    for name in ("F", "S", "P"):
        table.add_column(name, justify="right")
    table.add_column("output size along an axis")
    table.add_column("parameters", f"{sum(layer.parameters for layer in layers):,}", justify="right")
    table.add_column("multiply-adds", f"{sum(layer.multiply_adds for layer in layers):,}", justify="right")
    before = 28
    for layer in layers:
        numbers = ["" if n is None else str(n) for n in (layer.kernel, layer.stride, layer.padding)]
        shape = "×".join(map(str, layer.shape))
        counts = [f"{n:,}" if n else "" for n in (layer.parameters, layer.multiply_adds)]
        table.add_row(layer.name, layer.operator, shape, *numbers, layer.size_formula(before) or "", *counts)
        before = layer.shape[-1]
    return table


def write_card(
    manifest: Manifest,
    evaluations: Sequence[Evaluation],
    robustness: Robustness,
    deviations: Sequence[Deviation],
    path: Path,
    refused: str,
) -> None:
    """The model card: what the model is, how it was made and chosen, how well it reads, how it was verified.

    The ONNX files lie beside it already. `refused` says why there is no faster variant, where there is none.
    """
    shown = evaluations[-1]
    training = manifest.training
    distortion = training["distortion"]
    lines = [
        f"# {manifest.name}, version {manifest.version}",
        "",
        "Recognises one handwritten digit in a 28×28 image: bright ink on black, 0–255, centred as MNIST's are. "
        "A convolutional network of "
        f"{sum(layer.parameters for layer in manifest.layers):,} parameters, BatchNorm folded into its convolutions "
        "and Dropout removed: the layer `conv1` or `conv2` means convolution and BatchNorm together.",
        "",
        f"- File: `model.onnx`, SHA-256 `{manifest.sha256}`",
        f"- Made: {manifest.created:%Y-%m-%d} with "
        + ", ".join(f"{name} {version}" for name, version in manifest.libraries.items()),
        "- Licence of the weights: Apache-2.0. Training data: MNIST (Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0).",
        "",
        "## Protocol",
        "",
        f"{training['digits']:,} digits of MNIST's training set trained the network; "
        f"{training['validation']:,} others, drawn by seed {split_seed(training)}, "
        "judged every choice and fitted the temperature. "
        f"{training['epochs']} epochs in batches of {training['batch']}; SGD with Nesterov momentum "
        f"{training['momentum']}, peak rate {training['learning_rate']}, linear warm-up, cosine decay; weight decay "
        f"{training['weight_decay']}; dropout {training['dropout']}; label smoothing {training['label_smoothing']}; "
        f"moving average of the weights with decay {training['averaging']}, its BatchNorm statistics taken anew. "
        f"Each batch is distorted: rotation to ±{distortion['rotation']}°, scale ±{distortion['scale']:.0%}, shear "
        f"±{distortion['shear']}, shift ±{distortion['shift']} pixels, elastic {distortion['elastic']} pixels, strokes "
        f"±{distortion['stroke']} pixels on either side in every second image; {distortion['wild']:.0%} of the images "
        "are distorted nearly twice as much. "
        f"{_mixture(training)}{_taught(training)}The last epoch is taken, not the best one.",
        "",
        f"The temperature {manifest.temperature:.4f}, fitted on validation, is divided into the last layer.",
        "",
        "The test labels were read once in this release, after training and verification."
        if shown.name == "test"
        else "The test labels were not read.",
        "",
        *_seeds(manifest),
        "## Accuracy",
        "",
        "| set | digits | accuracy | misread | cross-entropy (nats) |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {e.name} | {len(e.digits):,} | {e.accuracy:.2%} | {len(e.misread)} | {e.loss:.4f} |"
            for e in evaluations
        ),
        "",
        f"Accuracy by digit, {shown.name} set:",
        "",
        "| " + " | ".join(map(str, range(10))) + " |",
        "|" + " ---: |" * 10,
        "| " + " | ".join(_recalls(shown)) + " |",
        "",
        f"![Confusion matrix, {shown.name} set](confusion.png)",
        "",
        f"![Misread digits, {shown.name} set](misread.png)",
        "",
        *_mislabelled(shown),
        *_robustness(robustness),
        *_calibration(evaluations),
        *_rejection(manifest, evaluations, robustness),
        *ABLATIONS,
        "## Verification",
        "",
        f"Over all 10,000 test images and batch sizes {', '.join(map(str, BATCHES))}, each way of running the network "
        "was compared with the unfolded one in float64: the same digit for every image, and the largest difference "
        f"(at most {TOLERANCE:g} is allowed) was:",
        "",
        "| way | of a logit | of a feature map | in layer |",
        "| --- | ---: | ---: | --- |",
        *_verification(deviations),
        "",
        _VARIANTS,
        *_variants(manifest, path.parent, refused),
        *_index(manifest, path.parent),
        _LIMITS,
        "",
        "It names a digit for every picture, also for one that it rejects. It has seen digits of US census workers and "
        "students only.",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def with_variants(card: str, manifest: Manifest, folder: Path) -> str:
    """A card whose section of variants is that of the manifest; it gets one before its limits where it has none."""
    return _with_section(card, [_VARIANTS, *_variants(manifest, folder, "")])


def with_index(card: str, manifest: Manifest, folder: Path) -> str:
    """A card whose section of the index is that of the manifest; it gets one before its limits where it has none."""
    return _with_section(card, _index(manifest, folder))


def _with_section(card: str, lines: Sequence[str]) -> str:
    """The card with those lines, the first of which is their heading, in the place of what is under that heading."""
    section = "\n".join([*lines, ""])
    before, heading, after = card.partition(f"{lines[0]}\n")
    if not heading:
        return card.replace(f"{_LIMITS}\n", f"{section}{_LIMITS}\n")
    return before + section + after[after.index("## ") :]


def _variants(manifest: Manifest, folder: Path, refused: str) -> list[str]:
    if not manifest.variants:
        return ["", f"There is none: {refused}.", ""]
    figures = manifest.metrics[f"seed {manifest.training['seed']}"]
    sets = [name for name in ("validation", "test") if f"{name}_accuracy" in figures]
    header = ["precision", "file", "MB", *(f"{name} accuracy" for name in sets), "same digit", "SHA-256"]
    rows = [("float32", MODEL_FILE, figures, "", manifest.sha256)] + [
        (precision, variant.file, variant.metrics, f"{variant.agreement:.2%}", variant.sha256)
        for precision, variant in manifest.variants.items()
    ]
    return [
        "",
        "Faster files of this version, verified through the engine that serves them; feature maps are always "
        "float32's. `same digit` is the share of the 10,000 test images that get the digit of float32.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + " --- |" * 2 + " ---: |" * (len(header) - 3) + " --- |",
        *(
            f"| {precision} | `{file}` | {(folder / file).stat().st_size / 1e6:.2f} | "
            + "".join(f"{values[f'{name}_accuracy']:.2%} | " for name in sets)
            + f"{same} | `{digest[:12]}…` |"
            for precision, file, values, same, digest in rows
        ),
        "",
        *(f"{precision}: calibrated by the {v.calibration}." for precision, v in manifest.variants.items()),
        "",
    ]


def _index(manifest: Manifest, folder: Path) -> list[str]:
    index = manifest.index
    if index is None:
        return []
    figures = index.metrics
    size = (folder / index.file).stat().st_size / 1e6
    return [
        _INDEX,
        "",
        f"`{index.file}` ({size:.2f} MB, SHA-256 `{index.sha256[:12]}…`) holds digits that trained the network, for "
        f"looking inside: {index.prototypes:,} prototypes, among which the neighbours of a picture are found by the "
        f"{index.metric} of `{index.layer}`, and for each channel the digits that excite it most. The prototypes are "
        f"{index.selection}. Judged on the validation digits, none of which is among them:",
        "",
        "| prototypes | nearest has the label | of the ten nearest | mean distance to the nearest |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {figures[f'{prefix}nearest_agreement']:.2%} | {figures[f'{prefix}ten_agreement']:.2%} | "
            f"{figures[f'{prefix}distance']:.4f} |"
            for name, prefix in (("these", ""), ("as many at random, mean of five draws", "random_"))
        ),
        "",
    ]


def _mixture(training: Mapping[str, Any]) -> str:
    if not training["corrupted"] and not training["non_digits"]:
        return ""
    return (
        f"{training['corrupted']:.0%} of the digits are corrupted ones, of {len(CORRUPTIONS)} kinds and "
        f"{training['copies']} draws a digit, as the service's intake gives them to the network; beside every hundred "
        f"digits are {100 * training['non_digits']:.0f} pictures drawn by a procedure that show none, of "
        f"{len(NON_DIGITS)} sorts, for which the network learns to give little evidence. "
    )


def _taught(training: Mapping[str, Any]) -> str:
    teaching = training.get("teaching")
    if not teaching:
        return ""
    return (
        f"{teaching['teachers']} larger networks (five convolutions), trained for {teaching['epochs']} epochs on the "
        f"same digits and distortions, were asked about {teaching['views']} distorted images of each digit. The "
        f"network learnt from these images: {teaching['share']:.0%} of the loss is cross-entropy with the mean of the "
        f"teachers' probabilities, at temperature {teaching['softness']}. "
    )


def _seeds(manifest: Manifest) -> list[str]:
    """The table of all seeds' figures, where there are several."""
    if len(manifest.metrics) < 2:
        return []
    shared = manifest.training.get("split")
    drawn = ", which draws the split too" if shared is None else f"; the split is that of seed {shared} for all"
    names = list(next(iter(manifest.metrics.values())))
    values = np.array([[figures[name] for name in names] for figures in manifest.metrics.values()])
    rows = [*zip(manifest.metrics, values.tolist(), strict=True)]
    rows += [("mean", values.mean(axis=0).tolist()), ("standard deviation", values.std(axis=0, ddof=1).tolist())]
    return [
        "## Seeds",
        "",
        f"Nothing but the seed differs{drawn}. The median one is this version.",
        "",
        "| | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "| --- |" + " ---: |" * len(names),
        *(
            f"| {row} | "
            + " | ".join(
                f"{value:.4f}" if name.endswith(("loss", "brier")) else f"{value:.2%}"
                for name, value in zip(names, figures, strict=True)
            )
            + " |"
            for row, figures in rows
        ),
        "",
    ]


def _mislabelled(shown: Evaluation) -> list[str]:
    if shown.name != "test" or len(shown.digits) <= max(MISLABELLED):
        return []
    among = len(set(MISLABELLED) & set(shown.misread.tolist()))
    return [
        f"Of the test set's labels, {len(MISLABELLED)} are known to be wrong or in doubt (C. Northcutt, A. Athalye and "
        f"J. Mueller, arXiv:2103.14749: fewer than three of five people agreed with them). {among} of the "
        f"{len(shown.misread)} misread digits are among those.",
        "",
    ]


def _robustness(robustness: Robustness) -> list[str]:
    figures = robustness.metrics()
    return [
        "## Robustness",
        "",
        "On sets made of the validation digits by seeds of their own: the kinds are those of training, the digits and "
        "the draws are not.",
        "",
        f"- Redrawn (rotation to ±{REDRAWN.rotation}°, scale ±{REDRAWN.scale:.0%}, shear ±{REDRAWN.shear}, shift "
        f"±{REDRAWN.shift} pixels, strokes ±{REDRAWN.stroke} pixels): {robustness.redrawn:.2%}",
        f"- Corrupted, through the service's intake: mean {figures['corrupted_accuracy']:.2%}; "
        + ", ".join(f"{kind} {value:.1%}" for kind, value in robustness.corrupted.items()),
        "",
    ]


def _calibration(evaluations: Sequence[Evaluation]) -> list[str]:
    def figure(values: NDArray[np.float64]) -> str:
        low, high = interval(values)
        return f"{values.mean():.4f} ({low:.4f}–{high:.4f})"

    return [
        "## Calibration",
        "",
        "| set | negative log-likelihood (nats) | Brier score |",
        "| --- | ---: | ---: |",
        *(f"| {e.name} | {figure(e.losses)} | {figure(e.brier)} |" for e in evaluations),
        "",
        "In parentheses the bootstrap's 95 % intervals.",
        "",
        f"![Reliability diagram, {evaluations[-1].name} set](reliability.png)",
        "",
    ]


def _rejection(manifest: Manifest, evaluations: Sequence[Evaluation], robustness: Robustness) -> list[str]:
    least, certain = manifest.rejection.evidence, manifest.rejection.confidence
    if least is None or certain is None:
        return []
    rows = []
    for evaluation in evaluations:
        unlike = evidence(evaluation.logits, manifest.temperature) < least
        unsure = ~unlike & (evaluation.probabilities.max(axis=1) < certain)
        kept = ~unlike & ~unsure
        right = evaluation.predictions == evaluation.digits.labels
        rows.append(
            f"| {evaluation.name} | {kept.mean():.2%} | {unlike.sum()} | {unsure.sum()} | {right[kept].mean():.2%} |"
        )
    return [
        "## Rejection",
        "",
        f"An image is rejected as `not_a_digit` when its evidence, log Σ exp(logits · {manifest.temperature:.4f}), is "
        f"below {least:.3f}, and else as `ambiguous` when the largest probability is below {certain:.3f}. Both "
        "thresholds are quantiles of the clean validation digits; no picture of anything else set them.",
        "",
        "| set | accepted | not_a_digit | ambiguous | accuracy of the accepted |",
        "| --- | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        "How often a clean validation digit has more evidence than a picture that shows none (area under the ROC "
        "curve), of sorts that the network met in training, newly drawn: "
        + ", ".join(f"{sort} {area:.4f}" for sort, area in robustness.non_digits.items())
        + f"; mean {robustness.metrics()['non_digits_auc']:.4f}.",
        "",
    ]


def _recalls(evaluation: Evaluation) -> list[str]:
    confusion = evaluation.confusion
    totals = confusion.sum(axis=1)
    return [f"{confusion[digit, digit] / totals[digit]:.2%}" if totals[digit] else "–" for digit in range(10)]


def _verification(deviations: Sequence[Deviation]) -> list[str]:
    rows = []
    for way in dict.fromkeys(deviation.way for deviation in deviations):
        of_way = [deviation for deviation in deviations if deviation.way == way]
        logit = next(deviation for deviation in of_way if deviation.layer == "logits")
        worst = max(
            (deviation for deviation in of_way if deviation.layer != "logits"),
            key=lambda deviation: deviation.difference,
        )
        rows.append(f"| {way} | {logit.difference:.1e} | {worst.difference:.1e} | {worst.layer} |")
    return rows
