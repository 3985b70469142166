// The arithmetic behind one value, written out: its sum, what each pixel adds, the grids of a convolution, every term.

import { element, facts, grid, scrolling } from "./element.js";
import { Maps } from "./maps.js";
import { magnitude, written } from "./number.js";

export class Arithmetic {
  #parts;
  #palette;

  /** `parts` are elements by their ids: `sum` and `readout` for the sum, `pixels` for its pixels, `arithmetic` for the rest. */
  constructor(parts, palette) {
    [this.#parts, this.#palette] = [parts, palette];
    this.clear();
  }

  clear() {
    const { sum, readout, pixels, arithmetic } = this.#parts;
    sum.replaceChildren("Draw a digit, then point at a value of the network, or choose its place above.");
    for (const part of [readout, pixels, arithmetic]) part.replaceChildren();
  }

  /** Says why there is none. */
  fail(problem) {
    this.clear();
    this.#parts.sum.replaceChildren(element("span", { className: "problem", role: "alert" }, problem));
  }

  /** Shows what `/v1/trace` answers. */
  show(trace) {
    const { sum, readout, pixels, arithmetic } = this.#parts;
    const text = ` = ${sumOf(trace)}`;
    sum.replaceChildren(element("output", { id: "value" }, written(trace.value)), text);
    readout.replaceChildren(element("b", {}, `${placeOf(trace)}: ${written(trace.value)}`), text);
    pixels.replaceChildren(...this.#pixels(trace.pixels));
    arithmetic.replaceChildren(...(trace.operator === "Conv" ? this.#grids(trace) : []), terms(trace), check(trace));
  }

  /** For each input map the window, the kernel and their products, in colours, and the sum of the products. */
  #grids({ terms, source }) {
    const channels = Map.groupBy(terms, (term) => term.channel);
    const side = Math.sqrt(terms.length / channels.size);
    const bounds = {};
    const rows = ["input", "weight", "product"].map((key) => {
      bounds[key] = magnitude(terms.map((term) => term[key]));
      return [key, ...Array.from(channels, ([channel, part]) => {
        const values = Float32Array.from(part, (term) => term[key]);
        const cell = element("div");
        const maps = new Maps(cell, [1, side, side], { label: `${key} of map ${channel}: ${Array.from(values, (value) => written(value, 2)).join(" ")}` });
        maps.lay(side > 3 ? 6 : 22, 1);
        maps.show(values, [bounds[key]], true, this.#palette);
        return cell;
      })];
    });
    rows.push(["sum", ...Array.from(channels.values(), (part) => written(part.reduce((total, { product }) => total + product, 0), 2))]);
    const names = source === "normalised" ? ["", "image"] : ["map", ...channels.keys()];
    const spans = Object.entries(bounds).map(([key, bound]) => `${key}s ±${written(bound, 2)}`).join(", ");
    return [
      scrolling("Window, kernel and products", grid("grids", names, rows)),
      element("p", { className: "note" }, `The colours span: ${spans}.`),
    ];
  }

  #pixels({ offset, products }) {
    const values = Float32Array.from(products.flat());
    const host = element("div");
    const maps = new Maps(host, [1, 28, 28], { label: "What each pixel adds to the value" });
    maps.lay(5, 1);
    maps.show(values, [magnitude(values)], true, this.#palette);
    const caption = `what each pixel adds, up to ±${written(magnitude(values), 2)}; ${written(offset, 2)} without any`;
    return [host, element("figcaption", {}, caption)];
  }
}

function placeOf({ layer, channel, y, x }) {
  return y === null ? `${layer} ${channel}` : `${layer} ${channel} (${y}, ${x})`;
}

function sumOf({ operator, exact, bias, terms, rest }) {
  const inputs = terms.map(({ input }) => written(input));
  if (operator === "Relu") return `max(0, ${inputs[0]})`;
  if (operator === "MaxPool") return `max(${inputs.join(", ")})`;
  const added = exact - bias;
  return `${written(bias)} (bias) ${added < 0 ? "−" : "+"} ${written(Math.abs(added))} (${terms.length + rest.terms} products)`;
}

function terms({ terms, rest, exact, source }) {
  const rows = terms.map(({ channel, y, x, input, weight, product, padding, running }) => {
    const map = source === "normalised" ? "" : `map ${channel} `;
    const place = y === null ? `unit ${channel}` : `${map}(${written(y, 0)}, ${written(x, 0)})`;
    return [padding ? `${place} pad` : place, ...[input, weight, product, running].map((number) => written(number))];
  });
  if (rest.terms) rows.push([`${rest.terms} smaller ones`, "", "", written(rest.sum), written(exact)]);
  return scrolling("The terms, one by one", grid("terms", ["from", "input", "× weight", "= product", "so far"], rows));
}

function check({ value, exact, difference, normalisation }) {
  const pairs = [
    ["ONNX Runtime, float32", String(value)],
    ["the same sum in float64", String(exact)],
    ["difference", difference.toExponential(1)],
  ].map(([name, text]) => [name, text.replaceAll("-", "−")]);
  if (normalisation) pairs.push(["input of a pixel", `(pixel − ${written(normalisation.mean, 2)}) / ${written(normalisation.std, 2)}`]);
  return facts(pairs);
}
