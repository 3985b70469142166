// One place of the network: its fields, its whole map, the arithmetic behind its value, and what silencing that does.

import { Arithmetic } from "./arithmetic.js";
import { Gallery } from "./gallery.js";
import { Maps } from "./maps.js";
import { Newest } from "./newest.js";
import { magnitude, percent, written } from "./number.js";

const LARGE = 196; // pixels of an enlarged map's side
const MIDDLE = 14; // the row and column to begin with

export class Inspector {
  #parts;
  #layers;
  #service;
  #palette;
  #chosen;
  #offer;
  #arithmetic;
  #exemplars;
  #tracing;
  #counting;
  #silencing;
  #exciting;
  #digit = null;
  #place = null;
  #last = { y: MIDDLE, x: MIDDLE }; // of a layer that has rows and columns
  #view = null;

  /**
   * `parts` are the elements by their ids, `layers` those of the service, in order. `chosen` is called with the place
   * that is set by the fields or on the enlarged map; `service` has `ask` and `exemplars`, `offer` what can be copied.
   */
  constructor(parts, layers, palette, service, { chosen, offer }) {
    [this.#parts, this.#layers, this.#palette, this.#service, this.#chosen, this.#offer] = [parts, layers, palette, service, chosen, offer];
    this.#arithmetic = new Arithmetic(parts, palette);
    this.#exemplars = new Gallery(parts.exemplars);
    this.#tracing = new Newest((problem) => this.#arithmetic.fail(problem));
    this.#counting = new Newest(() => this.#count(""));
    this.#silencing = new Newest((problem) => { parts["silence-note"].textContent = problem; });
    this.#exciting = new Newest((problem) => this.#exemplars.say(problem));
    parts.layer.append(...layers.map(({ name }) => new Option(name)));
    parts.layer.addEventListener("change", () => this.#chosen(this.#given()));
    for (const field of this.#fields()) field.addEventListener("input", () => { if (field.validity.valid && field.value) this.#chosen(this.#given()); });
    parts.silence.addEventListener("click", () => this.#silence());
    this.#fill({ layer: layers[0].name, channel: 0, ...this.#last });
  }

  /** The digit that is looked into: { pixels, values }, or null. */
  set digit(digit) {
    this.#digit = digit;
    this.#quiet();
    if (digit) return this.at(this.#place ?? this.#given(), true);
    for (const question of [this.#tracing, this.#counting, this.#exciting]) question.stop();
    this.#parts.silence.disabled = true;
    this.#place = this.#view = null;
    this.#parts["channel-view"].replaceChildren();
    this.#count("");
    this.#arithmetic.clear();
    this.#exemplars.clear();
    for (const name of ["trace", "exemplars"]) this.#offer(name, null);
  }

  /** Shows a place; `settled` says that the pointer does not just pass it. */
  at(place, settled) {
    const before = this.#place;
    this.#place = place;
    this.#fill(place);
    if (!this.#digit) return;
    const inner = place.layer !== this.#layers.at(-1).name; // the last layer has nothing to silence, and no exemplars
    this.#parts.silence.disabled = !inner;
    this.#enlarge(this.#layer(place));
    this.#trace(place, settled);
    if (before?.layer === place.layer && before.channel === place.channel) return;
    this.#quiet();
    this.#excite(place, inner);
  }

  /** The place that the fields say; where a layer has no rows, those of the last one that had them are kept. */
  #given() {
    const { shape, name } = this.#layer({ layer: this.#parts.layer.value });
    const within = (value, size) => Math.min(Math.max(0, value), size - 1);
    const [channel, y, x] = this.#fields().map((field) => Number(field.value));
    if (shape.length === 1) return { layer: name, channel: within(channel, shape[0]), y: null, x: null };
    const [row, column] = this.#parts.row.disabled ? [this.#last.y, this.#last.x] : [y, x];
    return { layer: name, channel: within(channel, shape[0]), y: within(row, shape[1]), x: within(column, shape[2]) };
  }

  #fields() {
    return [this.#parts.channel, this.#parts.row, this.#parts.column];
  }

  #layer({ layer }) {
    return this.#layers.find(({ name }) => name === layer);
  }

  #fill(place) {
    const { shape } = this.#layer(place);
    const values = [place.channel, place.y, place.x];
    this.#parts.layer.value = place.layer;
    this.#fields().forEach((field, axis) => {
      field.disabled = axis >= shape.length;
      field.max = (shape[axis] ?? 1) - 1;
      field.value = values[axis] ?? "";
    });
    this.#parts["channel-name"].textContent = shape.length === 1 ? "Unit" : "Map";
    if (place.y !== null) this.#last = { y: place.y, x: place.x };
  }

  #trace(place, settled) {
    const query = { layer: place.layer, channel: place.channel, ...(place.y === null ? {} : { y: place.y, x: place.x }), follow: true };
    const { pixels } = this.#digit;
    this.#tracing.ask((signal) => this.#service.ask("trace", query, pixels, signal), (trace) => {
      this.#arithmetic.show(trace);
      this.#offer("trace", { path: "/v1/trace", query });
    }, settled ? 0 : 25);
  }

  #enlarge({ name, shape, signed }) {
    const host = this.#parts["channel-view"];
    const [, height, width] = shape;
    const { channel, y, x } = this.#place;
    if (height === undefined) {
      this.#view = null;
      host.replaceChildren();
      return this.#count(`${name} has no maps, only ${shape[0]} values.`);
    }
    const size = height * width;
    if (this.#view?.layer !== name) {
      host.replaceChildren();
      const move = (place) => place && this.#chosen({ layer: name, channel: this.#place.channel, y: place.y, x: place.x });
      this.#view = { layer: name, maps: new Maps(host, [1, height, width], { chosen: move }) };
      this.#view.maps.lay(LARGE / width, 1);
    }
    const values = this.#digit.values[name].subarray(channel * size, (channel + 1) * size);
    this.#view.maps.label = `${name}, map ${channel}, enlarged`;
    this.#view.maps.show(values, [magnitude(values)], signed, this.#palette);
    this.#view.maps.mark([{ channel: 0, rows: [y, y], columns: [x, x] }]);
    this.#summarise(name, channel);
  }

  /** Tells of a map what the service counts. */
  #summarise(layer, channels) {
    const query = { layer, channels, values: false, format: "json" };
    const { pixels } = this.#digit;
    this.#counting.ask((signal) => this.#service.ask("features", query, pixels, signal), ({ layers: [{ statistics }] }) => {
      const [least, most, mean, positive] = ["minimum", "maximum", "mean", "positive"].map((name) => statistics[name][0][0]);
      const flag = statistics.dead[0][0] ? " It is dead: nothing passes the ReLU." : statistics.saturated[0][0] ? " It is saturated: the ReLU cuts nothing." : "";
      this.#count(`From ${written(least, 2)} to ${written(most, 2)}, ${written(mean, 2)} on average; ${percent(positive)} are above 0.${flag}`);
    }, 60);
  }

  #count(sentence) {
    this.#parts["channel-note"].textContent = sentence;
  }

  #excite({ layer, channel }, inner) {
    this.#exciting.stop();
    this.#offer("exemplars", null);
    if (!inner) return this.#exemplars.say("The last layer has none of its own.");
    this.#exciting.ask((signal) => this.#service.exemplars(layer, channel, signal), ({ exemplars }) => {
      this.#exemplars.show(exemplars.map(({ image, label, activation }) => ({
        image, label: `a training digit, ${label}`, caption: written(activation, 1),
      })));
      this.#offer("exemplars", { path: `/v1/model/layers/${layer}/exemplars`, query: { channel }, fetched: true });
    }, 150);
  }

  #silence() {
    const { layer, channel } = this.#place;
    const query = { layer, channels: channel };
    this.#silencing.ask((signal) => this.#service.ask("ablate", query, this.#digit.pixels, signal), ({ before, silenced: [after] }) => {
      const [was, is] = [before, after].map(({ digit, probabilities }) => `${digit} at ${percent(probabilities[digit])}`);
      const moved = written(after.difference[before.digit], 2);
      this.#parts["silence-note"].textContent =
        `With ${layer} ${channel} at zero it reads ${is === was ? "still " : ""}${is}${is === was ? "" : `, not ${was}`}; the logit of ${before.digit} moves by ${moved}.`;
      this.#offer("ablate", { path: "/v1/ablate", query });
    });
  }

  #quiet() {
    this.#silencing.stop();
    this.#parts["silence-note"].textContent = "";
    this.#offer("ablate", null);
  }
}
