// One place of the network: its fields, the arithmetic behind its value, its whole map, and what silencing that does.

import { Arithmetic } from "./arithmetic.js";
import { Gallery } from "./gallery.js";
import { Maps } from "./maps.js";
import { Newest } from "./newest.js";
import { percent, written } from "./number.js";

const LARGE = 196; // pixels of an enlarged map's side

export class Inspector {
  #parts;
  #layers;
  #service;
  #palette;
  #chosen;
  #arithmetic;
  #exemplars;
  #tracing;
  #silencing;
  #exciting;
  #digit = null;
  #place = null;
  #view = null;

  /**
   * `parts` are the elements by their ids, `layers` those of the service, in order. `chosen` is called with the place
   * that is set by the fields or on the enlarged map; `service` has `look` and `exemplars`, `offer` what can be copied.
   */
  constructor(parts, layers, palette, service, { chosen, offer, failed }) {
    [this.#parts, this.#layers, this.#palette, this.#service, this.#chosen] = [parts, layers, palette, service, chosen];
    this.offer = offer;
    this.#arithmetic = new Arithmetic(parts.arithmetic, palette);
    this.#exemplars = new Gallery(parts.exemplars);
    [this.#tracing, this.#silencing, this.#exciting] = Array.from({ length: 3 }, () => new Newest(failed));
    parts.layer.append(...layers.map(({ name }) => new Option(name)));
    parts.layer.addEventListener("change", () => this.#read());
    for (const field of this.#fields()) field.addEventListener("input", () => { if (field.validity.valid && field.value) this.#read(); });
    parts.silence.addEventListener("click", () => this.#silence());
    this.#limit(layers[0]);
  }

  /** The digit that is looked into: { pixels, values }, or null. */
  set digit(digit) {
    this.#digit = digit;
    this.#quiet();
    if (digit === null) {
      this.#parts.silence.disabled = true;
      this.#tracing.stop();
      this.#arithmetic.clear();
      this.#place = this.#view = null;
      this.#parts["channel-view"].replaceChildren();
      this.#exciting.stop();
      this.#exemplars.clear();
      this.offer("trace", null);
      return;
    }
    this.at(this.#place ?? this.#given(), true);
  }

  /** Shows a place; `settled` says that the pointer does not just pass it. */
  at(place, settled) {
    const before = this.#place;
    this.#place = place;
    const layer = this.#layer();
    this.#limit(layer);
    [this.#parts.layer.value, this.#parts.channel.value] = [place.layer, place.channel];
    [this.#parts.row.value, this.#parts.column.value] = [place.y ?? "", place.x ?? ""];
    if (!this.#digit) return;
    this.#parts.silence.disabled = !this.#inner(place);
    this.#enlarge(layer);
    const query = { layer: place.layer, channel: place.channel, ...(place.y === null ? {} : { y: place.y, x: place.x }), follow: true };
    const { pixels } = this.#digit;
    this.#tracing.ask((signal) => this.#service.look("trace", query, pixels, signal), (trace) => {
      this.#arithmetic.show(trace);
      this.offer("trace", { path: "/v1/trace", query });
    }, settled ? 0 : 25);
    if (before?.layer === place.layer && before.channel === place.channel) return;
    this.#quiet();
    if (this.#inner(place)) this.#excite(place);
    else this.#exemplars.clear();
  }

  /** The place that the fields say. */
  #given() {
    const [channel, y, x] = this.#fields().map((field) => (field.disabled ? null : Number(field.value)));
    return { layer: this.#parts.layer.value, channel, y, x };
  }

  #read() {
    const layer = this.#layers.find(({ name }) => name === this.#parts.layer.value);
    this.#limit(layer);
    const place = this.#given();
    this.#chosen(place);
  }

  #fields() {
    return [this.#parts.channel, this.#parts.row, this.#parts.column];
  }

  /** Whether a place is in a layer before the last one: that has nothing to silence, and no digits that excite it. */
  #inner({ layer }) {
    return layer !== this.#layers.at(-1).name;
  }

  #layer() {
    return this.#layers.find(({ name }) => name === this.#place.layer);
  }

  /** Keeps the fields within the layer; those of a place that it has not are disabled. */
  #limit({ shape }) {
    this.#fields().forEach((field, axis) => {
      const size = shape[axis];
      field.disabled = size === undefined;
      field.max = size === undefined ? "" : size - 1;
      if (size !== undefined) field.value = Math.min(Number(field.value), size - 1);
    });
  }

  #enlarge({ name, shape, signed }) {
    const host = this.#parts["channel-view"];
    const [, height, width] = shape;
    host.parentElement.classList.toggle("linear", height === undefined);
    if (height === undefined) return host.replaceChildren();
    const size = height * width;
    const { channel, y, x } = this.#place;
    if (this.#view?.layer !== name) {
      host.replaceChildren();
      const move = (place) => place && this.#chosen({ layer: name, channel: this.#place.channel, y: place.y, x: place.x });
      this.#view = { layer: name, maps: new Maps(host, [1, height, width], { chosen: move }) };
      this.#view.maps.lay(LARGE / width, 1);
    }
    const values = this.#digit.values[name].subarray(channel * size, (channel + 1) * size);
    const bound = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    this.#view.maps.label = `${name}, map ${channel}, enlarged`;
    this.#view.maps.show(values, [bound], signed, this.#palette);
    this.#view.maps.mark([{ channel: 0, rows: [y, y], columns: [x, x] }]);
  }

  #excite({ layer, channel }) {
    this.#exciting.ask((signal) => this.#service.exemplars(layer, channel, signal), ({ exemplars }) => {
      this.#exemplars.show(exemplars.map(({ image, label, activation }) => ({
        image, label: `a training digit, ${label}`, caption: written(activation, 1),
      })));
    }, 150);
  }

  #silence() {
    const { layer, channel } = this.#place;
    const query = { layer, channels: channel };
    this.#silencing.ask((signal) => this.#service.look("ablate", query, this.#digit.pixels, signal), ({ before, silenced: [after] }) => {
      const [was, is] = [before, after].map(({ digit, probabilities }) => `${digit} at ${percent(probabilities[digit])}`);
      const moved = written(after.difference[before.digit], 2);
      this.#parts["silence-note"].textContent =
        `With ${layer} ${channel} at zero it reads ${is}, where it reads ${was}; the logit of ${before.digit} moves by ${moved}.`;
      this.offer("ablate", { path: "/v1/ablate", query });
    });
  }

  #quiet() {
    this.#silencing.stop();
    this.#parts["silence-note"].textContent = "";
    this.offer("ablate", null);
  }
}
