// A picture whose pixels are squares, with a mark over some of them.

import { element } from "./element.js";

export const pixels = ({ width, height }) => `${width} × ${height}`;

export class Magnified {
  size = { width: 0, height: 0 };
  zoom = 1;
  #image = element("img", { alt: "", draggable: false });
  #mark = element("div", { className: "mark", hidden: true });
  #caption = element("figcaption");
  box = element("div", { className: "view" }, this.#image, this.#mark);
  figure = element("figure", { hidden: true }, this.#caption, this.box);

  show(url, size, name) {
    this.size = size;
    Object.assign(this.#image, { src: url, alt: name });
    this.#caption.replaceChildren(element("b", {}, name), ` ${pixels(size)} pixels`);
    this.figure.hidden = false;
  }

  scale(zoom) {
    this.zoom = zoom;
    for (const side of ["width", "height"]) this.#image.style[side] = `${this.size[side] * zoom}px`;
    this.#image.classList.toggle("squares", zoom >= 1);
    this.unmark();
  }

  mark([left, right], [top, bottom]) {
    const places = { left, top, width: right - left + 1, height: bottom - top + 1 };
    for (const [name, pixels] of Object.entries(places)) this.#mark.style[name] = `${pixels * this.zoom}px`;
    this.#mark.hidden = false;
  }

  unmark() {
    this.#mark.hidden = true;
  }
}
