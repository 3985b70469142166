// The whole network on one screen: the image, each layer's maps in the order of computation, and the ten logits.

import { element } from "./element.js";
import { behind } from "./geometry.js";
import { Maps } from "./maps.js";
import { magnitude, written } from "./number.js";

const IMAGE = { name: "image", operator: "", shape: [1, 28, 28], signed: false };
const FEW = 10; // units, each of which has its number below it
const UNIT = 4; // pixels of the cell of a unit
const LOGIT = 28; // and of a logit, of which there are few

const OPERATORS = {
  Conv: ({ kernel }) => `${kernel}×${kernel} convolution`,
  MaxPool: ({ kernel }) => `largest of ${kernel}×${kernel}`,
  Relu: () => "negatives to 0",
  Gemm: () => "sums of all inputs",
  "": () => "what it sees",
};

export class Network {
  #host;
  #layers;
  #rows = {};
  #values = null;
  #palette;
  #span = "layer";
  #kept = null;

  /**
   * `layers` are those of the service, in the order of computation. `pointed` is called with { layer, channel, y, x }
   * where the pointer is, or null; `chosen` with the one that is clicked.
   */
  constructor(host, layers, palette, { pointed, chosen }) {
    [this.#host, this.#layers, this.#palette] = [host, layers, palette];
    for (const layer of [IMAGE, ...layers]) this.#rows[layer.name] = this.#row(layer, pointed, chosen);
    new ResizeObserver(() => this.#lay()).observe(host);
    this.#lay();
  }

  set span(span) {
    this.#span = span;
    this.draw();
  }

  /** Shows `values`, a Float32Array a layer, and the image's. */
  show(values) {
    this.#values = values;
    this.draw();
  }

  clear() {
    this.#values = null;
    this.keep(null);
    for (const [name, { maps, range }] of Object.entries(this.#rows)) {
      maps.clear();
      range.textContent = "";
      maps.label = `${name}: nothing yet`;
    }
  }

  draw() {
    if (!this.#values) return;
    const overall = Math.max(...this.#layers.map(({ name }) => magnitude(this.#values[name])));
    for (const { name, shape, signed, operator } of [IMAGE, ...this.#layers]) {
      const values = this.#values[name];
      const image = operator === "";
      const maps = shape.length === 1 ? 1 : shape[0];
      const each = values.length / maps;
      const bounds = Array.from({ length: shape[0] }, (_, channel) => {
        if (image) return 255;
        if (this.#span === "all") return overall;
        if (this.#span === "layer" || maps === 1) return magnitude(values);
        return magnitude(values.subarray(channel * each, (channel + 1) * each));
      });
      const { maps: view, range } = this.#rows[name];
      const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
      const digits = image ? 0 : 2;
      range.textContent = `${written(low, digits)} to ${written(high, digits)}`;
      view.label = `${name}: ${shape.join("×")} values from ${range.textContent}`;
      view.show(values, bounds, signed, image ? INK : this.#palette);
    }
  }

  /** Frames a place and all that it comes from; null frames what is kept again. */
  mark(place) {
    for (const { maps } of Object.values(this.#rows)) maps.mark([]);
    const shown = place ?? this.#kept;
    if (!shown || !this.#values) return;
    const { layer, channel, y, x } = shown;
    const own = { channel, rows: y === null ? null : [y, y], columns: x === null ? null : [x, x] };
    this.#rows[layer].maps.mark([own]);
    for (const window of behind(this.#layers, shown)) this.#rows[window.layer].maps.mark([window]);
  }

  /** Keeps a place framed while nothing is pointed at. */
  keep(place) {
    this.#kept = place;
    this.mark(null);
  }

  #row(layer, pointed, chosen) {
    const row = element("div", { className: "layer", "data-layer": layer.name });
    const range = element("span", { className: "range" });
    const title = element("span", {}, element("b", {}, layer.name), ` ${layer.shape.join("×")}`);
    const held = element("div");
    row.append(element("div", {}, title, element("span", {}, OPERATORS[layer.operator](layer)), range), held);
    this.#host.append(row);
    const at = (tell) => (place) => tell(place && layer !== IMAGE ? { layer: layer.name, ...place } : null);
    const maps = new Maps(held, layer.shape, { label: `${layer.name}: nothing yet`, pointed: at(pointed), chosen: at(chosen) });
    if (layer.shape.length === 1 && layer.shape[0] <= FEW) held.append(numbers(layer.shape[0]));
    return { maps, range, held };
  }

  /** As many pixels a value as the width allows, the same in all layers. */
  #lay() {
    const width = this.#rows.image.held.clientWidth;
    if (!width) return;
    const zoom = Math.max(2, Math.min(4, Math.floor(width / (8 * 29))));
    for (const { name, shape } of [IMAGE, ...this.#layers]) {
      const [count, , side] = shape;
      if (shape.length === 1) {
        const cell = count <= FEW ? Math.min(LOGIT, Math.floor(width / count)) : UNIT;
        this.#rows[name].maps.lay(cell, divisor(count, Math.floor(width / cell)));
        this.#rows[name].held.style.setProperty("--cell", `${cell}px`);
      } else {
        const fit = Math.floor((width / zoom + 1) / (side + 1));
        this.#rows[name].maps.lay(zoom, divisor(count, fit));
      }
    }
  }
}

/** The numbers of units, as wide as they. */
const numbers = (count) =>
  element("div", { className: "numbers", "aria-hidden": "true" }, ...Array.from({ length: count }, (_, number) => element("span", {}, number)));

/** The largest number of equal rows' columns that fits: a divisor of `count`, at most `most`. */
function divisor(count, most) {
  for (let columns = Math.max(1, Math.min(count, most)); ; columns--) if (count % columns === 0) return columns;
}

/** The image's own greys. */
const INK = {
  paint(values, bound, signed, bytes, offset) {
    for (const value of values) {
      [bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]] = [value, value, value, 255];
      offset += 4;
    }
  },
};
