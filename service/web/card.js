// The model card as a page: what serves, how well it reads, and a table of its layers.

import { element, facts, grid, scrolling } from "./element.js";
import { percent, written } from "./number.js";

const grouped = (number) => new Intl.NumberFormat("en").format(number);

const FIGURES = {
  test_accuracy: "test digits read right",
  validation_accuracy: "validation digits",
  redrawn_accuracy: "redrawn ones",
  corrupted_accuracy: "corrupted ones",
  non_digits_auc: "told from non-digits (area)",
};

/** Fills `host` with the answers of `/v1/model` and `/v1/model/layers`. */
export function card(host, { running, manifest }, { layers, parameters, multiply_adds: multiplyAdds }) {
  const about = facts([
    ["model", `${manifest.name}, version ${manifest.version}`],
    ["SHA-256 of its ONNX file", running.sha256],
    ["runs on", `${running.provider}, ${running.precision}, ONNX Runtime ${running.onnxruntime}`],
    ["made", manifest.created.slice(0, 10)],
    ["parameters", grouped(parameters)],
    ["multiply-adds an image", grouped(multiplyAdds)],
    ["temperature of the logits", written(manifest.temperature)],
    ["rejected below", bounds(manifest.rejection)],
  ]);
  const snippets = element("div", { className: "snippets", "data-snippet": "model" });
  host.replaceChildren(
    section("What serves", about, snippets),
    section("How well it reads", scrolling("Figures of each seed", figures(manifest))),
    section("Its layers", scrolling("The layers", table(layers))),
  );
}

const section = (title, ...content) => element("section", {}, element("h2", {}, title), ...content);

function bounds({ evidence, confidence }) {
  const found = [];
  if (confidence !== undefined) found.push(`a confidence of ${percent(confidence)}`);
  if (evidence !== undefined) found.push(`an evidence of ${written(evidence)}`);
  return found.join(", or ") || "nothing";
}

/** One row a seed. */
function figures({ metrics, training }) {
  const known = Object.keys(FIGURES).filter((name) => Object.values(metrics).every((seed) => name in seed));
  const rows = Object.entries(metrics).map(([seed, values]) => [
    seed === `seed ${training.seed}` ? `${seed}, which serves` : seed,
    ...known.map((name) => percent(values[name], 2)),
  ]);
  return grid("grid", ["seed", ...known.map((name) => FIGURES[name])], rows);
}

function table(layers) {
  const rows = layers.map((layer) => [
    layer.name,
    layer.operator,
    layer.kernel ? `${layer.kernel}×${layer.kernel}, stride ${layer.stride}, padding ${layer.padding ?? 0}` : "",
    layer.shape.join("×"),
    layer.formula ?? "",
    layer.parameters ? grouped(layer.parameters) : "",
    layer.multiply_adds ? grouped(layer.multiply_adds) : "",
    layer.receptive_field ? `${layer.receptive_field.size}×${layer.receptive_field.size}` : "the whole image",
  ]);
  const names = ["layer", "operator", "kernel", "output", "its size along an axis", "parameters", "multiply-adds", "sees of the image"];
  return grid("grid", names, rows);
}
