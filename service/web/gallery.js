// A row of small digits, each with a caption, and a button where it can be taken.

import { element } from "./element.js";

export class Gallery {
  #host;
  #taken;

  /** `taken` is called with the digit that is clicked; without it the digits are only shown. */
  constructor(host, taken = null) {
    [this.#host, this.#taken] = [host, taken];
  }

  /** Shows digits, each { image, label, caption }: a URL, what it is, and what stands below it, if anything. */
  show(digits) {
    this.#host.replaceChildren(...digits.map((digit) => this.#tile(digit)));
  }

  /** Shows a sentence in the digits' stead. */
  say(sentence) {
    this.#host.replaceChildren(element("p", { className: "note" }, sentence));
  }

  clear() {
    this.#host.replaceChildren();
  }

  #tile(digit) {
    const { image, label, caption } = digit;
    const picture = element("img", { src: image, width: 28, height: 28, alt: label });
    if (!this.#taken) return element("figure", {}, picture, element("figcaption", {}, caption));
    return element("button", { type: "button", onclick: () => this.#taken(digit) }, picture);
  }
}
