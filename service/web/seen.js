// The 28×28 that the network saw, and over it, if there is one, a signed map of what speaks for or against a digit.

import { magnitude } from "./number.js";
import { png } from "./png.js";

const SIDE = 28;

export class Seen {
  #canvas;
  #small = document.createElement("canvas");
  #pixels;
  #map = null;
  #palette;

  constructor(canvas, palette) {
    [this.#canvas, this.#palette] = [canvas, palette];
    this.#small.width = this.#small.height = SIDE;
    this.clear();
  }

  /** The pixels of a picture by its URL, 784 bytes row by row. */
  static async read(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, SIDE, SIDE).data.filter((_, place) => place % 4 === 0);
  }

  /** 784 bytes as a PNG. */
  static picture(pixels) {
    const picture = new ImageData(SIDE, SIDE);
    pixels.forEach((level, place) => picture.data.set([level, level, level, 255], 4 * place));
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return png(canvas);
  }

  show(pixels, label) {
    this.#pixels = pixels;
    this.#map = null;
    this.#canvas.setAttribute("aria-label", label);
    this.draw();
  }

  /** Lays a map of 784 values over it, or takes it away (null). */
  cover(map) {
    this.#map = map;
    this.draw();
  }

  clear() {
    this.show(new Uint8ClampedArray(SIDE * SIDE), "What the network saw: nothing yet");
  }

  draw() {
    const picture = new ImageData(SIDE, SIDE);
    if (this.#map) this.#palette.paint(this.#map, magnitude(this.#map), true, picture.data);
    this.#pixels.forEach((level, place) => {
      const bytes = picture.data;
      for (let part = 4 * place; part < 4 * place + 3; part++) {
        bytes[part] = this.#map ? bytes[part] - (bytes[part] * level) / 255 / 3 : level; // the digit shades the map
      }
      bytes[4 * place + 3] = 255;
    });
    this.#small.getContext("2d").putImageData(picture, 0, 0);
    const context = this.#canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(this.#small, 0, 0, this.#canvas.width, this.#canvas.height);
  }
}
