// The colours of values: the service's own two palettes, or greys.

export class Palette {
  #sequential;
  #diverging;
  grey = false;

  /** Each palette is a list of [red, green, blue], from the least value to the largest. */
  constructor({ sequential, diverging }) {
    [this.#sequential, this.#diverging] = [sequential, diverging];
  }

  /** Paints values into RGBA bytes from `offset` on. Signed ones run over ±`bound`, others over 0 to `bound`. */
  paint(values, bound, signed, bytes, offset = 0) {
    const colours = this.#colours(signed);
    const last = colours.length - 1;
    for (const value of values) {
      const place = bound ? (signed ? (value / bound + 1) / 2 : value / bound) : signed ? 0.5 : 0;
      const colour = colours[Math.round(last * Math.min(1, Math.max(0, place)))];
      [bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]] = [...colour, 255];
      offset += 4;
    }
  }

  /** The colours as a CSS gradient, from the least value to the largest. */
  gradient(signed) {
    const colours = this.#colours(signed);
    const stops = Array.from({ length: 17 }, (_, stop) => colours[Math.round((stop / 16) * (colours.length - 1))]);
    return `linear-gradient(to right, ${stops.map((colour) => `rgb(${colour.join(" ")})`).join(", ")})`;
  }

  #colours(signed) {
    if (!this.grey) return signed ? this.#diverging : this.#sequential;
    return Array.from({ length: 256 }, (_, level) => [level, level, level]);
  }
}
