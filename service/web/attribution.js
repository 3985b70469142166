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

  /** `parts` are the elements by their ids, `seen` shows the map, `service` has `ask`, `offer` what can be copied. */
  constructor(parts, seen, service, { offer, changed }) {
    [this.#parts, this.#seen, this.#service, this.#offer] = [parts, seen, service, offer];
    this.#asking = new Newest((problem) => this.#say(problem));
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
    this.#asking.stop();
    if (pixels && method.value) {
      const query = { method: method.value, ...(target.value && { digit: target.value }) };
      this.#asking.ask((signal) => this.#service.ask("attribution", query, pixels, signal), (answer) => {
        this.#seen.cover(answer.map.flat());
        this.#say(note(answer));
        this.#offer("attribution", { path: "/v1/attribution", query });
      }, 60);
      return;
    }
    this.#seen.cover(null);
    this.#say("");
    this.#offer("attribution", null);
  }

  #say(sentence) {
    this.#parts["attribution-note"].textContent = sentence;
  }
}

function note({ digit, bound, faithfulness: { deletion, insertion } }) {
  if (!bound) return `For ${digit}: there is no ink that could speak for it.`;
  const helps = [deletion.area < deletion.random_area, insertion.area > insertion.random_area].filter(Boolean).length;
  const verdict = ["no better than chance here", "better than chance in one of the two", "better than chance in both"][helps];
  return `For ${digit}. If its ink is taken away in this order, it has ${percent(deletion.area)} on average (in a random order ` +
    `${percent(deletion.random_area)}); if it is brought in, ${percent(insertion.area)} (${percent(insertion.random_area)}): ${verdict}.`;
}
