// The model as a page: what serves, a table of its layers, and its card.

import { element, facts, grid, scrolling } from "./element.js";
import { written } from "./number.js";
import { marked } from "./vendor/marked/marked.esm.js";

const grouped = (number) => new Intl.NumberFormat("en").format(number);

/**
 * Fills `host` with the answers of `/v1/model` and `/v1/model/layers`; `text` is the card in Markdown, or
 * empty, and `address` gives that of a picture of it by its name.
 */
export function card(host, { running, manifest }, { layers, parameters, multiply_adds: multiplyAdds }, text, address) {
  const about = facts([
    ["model", `${manifest.name}, version ${manifest.version}`],
    ["SHA-256 of its ONNX file", running.sha256],
    ["runs on", `${running.provider}, ${running.precision}, ${runtime(running)}`],
    ["made", manifest.created.slice(0, 10)],
    ["parameters", grouped(parameters)],
    ["multiply-adds an image", grouped(multiplyAdds)],
    ["temperature of the logits", written(manifest.temperature)],
    ["rejected below", bounds(manifest.rejection)],
  ]);
  const snippets = element("div", { className: "snippets", "data-snippet": "model" });
  host.replaceChildren(
    section("What serves", about, snippets),
    section("Its layers", scrolling("The layers", table(layers))),
    ...(text ? [section("Its card", prose(text, address))] : []),
  );
}

/** What predicts, and what looks inside where that is another. */
function runtime({ openvino, onnxruntime }) {
  return `${openvino ? `OpenVINO ${openvino}, inside ` : ""}ONNX Runtime ${onnxruntime}`;
}

/** The card as it was written, its headings below the page's own, its tables and pictures where they can be reached. */
function prose(text, address) {
  const { content } = element("template", { innerHTML: marked.parse(text) }); // in which nothing is loaded yet
  content.querySelector("h1")?.remove();
  for (const heading of content.querySelectorAll("h2")) heading.replaceWith(element("h3", {}, ...heading.childNodes));
  for (const picture of content.querySelectorAll("img")) {
    const name = picture.getAttribute("src");
    picture.removeAttribute("src");
    address(name).then((found) => { picture.src = found; }, () => {}); // its text stands for one that is missing
  }
  content.querySelectorAll("table").forEach((figures, number) => {
    const place = document.createComment("");
    figures.replaceWith(place);
    figures.className = "grid";
    place.replaceWith(scrolling(`Table ${number + 1} of the card`, figures));
  });
  return element("div", { className: "card" }, content);
}

const section = (title, ...content) => element("section", {}, element("h2", {}, title), ...content);

function bounds({ evidence, confidence }) {
  const found = [];
  if (confidence !== undefined) found.push(`a confidence of ${written(confidence)}`);
  if (evidence !== undefined) found.push(`an evidence of ${written(evidence)}`);
  return found.join(", or ") || "nothing";
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
