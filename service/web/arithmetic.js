// The arithmetic behind one value, written out: its sum, the grids of a convolution, and every term.

import { element, facts, grid, scrolling } from "./element.js";
import { Maps } from "./maps.js";
import { written } from "./number.js";

export class Arithmetic {
  #host;
  #palette;

  constructor(host, palette) {
    [this.#host, this.#palette] = [host, palette];
    this.clear();
  }

  clear() {
    const hint = "Draw a digit, then point at a value of the network, or choose its place above.";
    this.#host.replaceChildren(element("p", { className: "note" }, hint));
  }

  /** Shows what `/v1/trace` answers. */
  show(trace) {
    const parts = [sum(trace), terms(trace), check(trace), this.#pixels(trace.pixels)];
    if (trace.operator === "Conv") parts.splice(1, 0, this.#grids(trace));
    this.#host.replaceChildren(...parts);
  }

  /** For each input map the window, the kernel and their products, in colours, and the sum of the products. */
  #grids({ terms, source }) {
    const channels = Map.groupBy(terms, (term) => term.channel);
    const side = Math.sqrt(terms.length / channels.size);
    const rows = ["input", "weight", "product"].map((key) => {
      const bound = Math.max(...terms.map((term) => Math.abs(term[key])));
      return [key, ...Array.from(channels, ([channel, part]) => {
        const values = Float32Array.from(part, (term) => term[key]);
        const cell = element("div");
        const maps = new Maps(cell, [1, side, side], { label: `${key} of map ${channel}: ${Array.from(values, (value) => written(value, 2)).join(" ")}` });
        maps.lay(side > 3 ? 6 : 22, 1);
        maps.show(values, [bound], true, this.#palette);
        return cell;
      })];
    });
    rows.push(["sum", ...Array.from(channels.values(), (part) => written(part.reduce((total, { product }) => total + product, 0), 2))]);
    const names = source === "normalised" ? ["", "image"] : ["map", ...channels.keys()];
    return scrolling("Window, kernel and products", grid("grids", names, rows));
  }

  #pixels({ offset, products }) {
    const values = Float32Array.from(products.flat());
    const figure = element("figure", { className: "pixels" });
    const maps = new Maps(figure, [1, 28, 28], { label: "What each pixel adds to the value" });
    maps.lay(4, 1);
    maps.show(values, [values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)], true, this.#palette);
    const caption = `What each pixel adds to it, followed back through the maxima that are taken: orange adds, blue takes away. Without any it is ${written(offset)}.`;
    figure.append(element("figcaption", {}, caption));
    return figure;
  }
}

function sum({ operator, value, exact, bias, terms, rest }) {
  const count = terms.length + rest.terms;
  const added = exact - bias;
  const products = `${written(bias)} (bias) ${added < 0 ? "−" : "+"} ${written(Math.abs(added))} (${count} products)`;
  const inputs = terms.map(({ input }) => written(input));
  const text = {
    Conv: () => products,
    Gemm: () => products,
    Relu: () => `max(0, ${inputs[0]})`,
    MaxPool: () => `max(${inputs.join(", ")})`,
  }[operator]();
  return element("p", { className: "sum" }, element("output", { id: "value" }, written(value)), ` = ${text}`);
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
