// What speaks for a digit: a map over the picture that the network saw, by a method and of a digit that are chosen.

import { Newest } from "./newest.js";
import { percent } from "./number.js";

export class Attribution {
  #parts;
  #seen;
  #service;
  #offer;
  #asking;
  #pixels = null;

  /** `parts` are the elements by their ids, `seen` shows the map, `service` has `look`, `offer` what can be copied. */
  constructor(parts, seen, service, { offer, failed, changed }) {
    [this.#parts, this.#seen, this.#service, this.#offer] = [parts, seen, service, offer];
    this.#asking = new Newest(failed);
    parts.target.append(...Array.from({ length: 10 }, (_, digit) => new Option(digit)));
    for (const choice of [parts.method, parts.target]) {
      choice.addEventListener("change", () => {
        this.#ask();
        changed();
      });
    }
    this.clear();
  }

  /** Shows what speaks for the digit of 784 bytes, if a method is chosen. */
  show(pixels) {
    this.#pixels = pixels;
    this.#ask();
  }

  clear() {
    this.#pixels = null;
    this.#ask();
  }

  #ask() {
    const { method, target } = this.#parts;
    const pixels = this.#pixels;
    this.#parts["attribution-legend"].hidden = !method.value;
    this.#asking.stop();
    if (pixels && method.value) {
      const query = { method: method.value, ...(target.value && { digit: target.value }) };
      this.#asking.ask((signal) => this.#service.look("attribution", query, pixels, signal), (answer) => {
        this.#seen.cover(answer.map.flat());
        this.#parts["attribution-note"].textContent = note(answer);
        this.#offer("attribution", { path: "/v1/attribution", query });
      }, 60);
      return;
    }
    this.#seen.cover(null);
    this.#parts["attribution-note"].textContent = "";
    this.#offer("attribution", null);
  }
}

function note({ digit, faithfulness: { deletion, insertion } }) {
  const mean = (area) => percent(area);
  return `For ${digit}. Taking pixels away in this order leaves it ${mean(deletion.area)} on average (${mean(deletion.random_area)} in a random order: less is ` +
    `better); bringing them in, ${mean(insertion.area)} (${mean(insertion.random_area)}: more is better).`;
}
