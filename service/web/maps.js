// The maps of one layer on a canvas, side by side, or the values of a linear layer as a strip. It takes numbers, shows
// them in colours, marks places among them, and says which place is pointed at.

export class Maps {
  #canvas = document.createElement("canvas");
  #sheet = document.createElement("canvas"); // all maps, one pixel a value, one below the other
  #shape;
  #strip;
  #columns;
  #zoom;
  #marks = [];

  /** `shape` is (channels, height, width) or (values,); `pointed` and `chosen` are called with a place, or null. */
  constructor(host, shape, { label, pointed = () => {}, chosen = () => {} }) {
    this.#strip = shape.length === 1;
    this.#shape = this.#strip ? [shape[0], 1, 1] : shape;
    this.#canvas.setAttribute("role", "img");
    this.label = label;
    host.append(this.#canvas);
    [this.#sheet.width, this.#sheet.height] = [this.#shape[2], this.#shape[0] * this.#shape[1]];
    this.#canvas.addEventListener("pointermove", (event) => pointed(this.#place(event)));
    this.#canvas.addEventListener("pointerleave", () => pointed(null));
    this.#canvas.addEventListener("click", (event) => { const place = this.#place(event); if (place) chosen(place); });
  }

  set label(text) {
    this.#canvas.setAttribute("aria-label", text);
  }

  /** Lays the maps out: pixels a value, and how many maps (or values of a strip) stand in a row. */
  lay(zoom, columns) {
    const [channels, height, width] = this.#shape;
    [this.#zoom, this.#columns] = [zoom, columns];
    const rows = Math.ceil(channels / columns);
    const gap = this.#gap;
    const size = [columns * (width * zoom + gap) - gap, rows * (height * zoom + gap) - gap];
    [this.#canvas.width, this.#canvas.height] = size.map((pixels) => Math.round(pixels * devicePixelRatio));
    [this.#canvas.style.width, this.#canvas.style.height] = size.map((pixels) => `${pixels}px`);
    this.#draw();
  }

  /** Shows values, channel by channel; `bounds` has the value of the last colour for each channel. */
  show(values, bounds, signed, palette) {
    const [channels, height, width] = this.#shape;
    const picture = new ImageData(width, channels * height);
    for (let channel = 0; channel < channels; channel++) {
      const start = channel * height * width;
      palette.paint(values.subarray(start, start + height * width), bounds[channel], signed, picture.data, 4 * start);
    }
    this.#sheet.getContext("2d").putImageData(picture, 0, 0);
    this.#draw();
  }

  clear() {
    this.#sheet.getContext("2d").clearRect(0, 0, this.#sheet.width, this.#sheet.height);
    this.mark([]);
  }

  /** Frames windows, each { channel, rows, columns }; a null stands for all. */
  mark(marks) {
    this.#marks = marks;
    this.#draw();
  }

  /** Pixels between maps. */
  get #gap() {
    return this.#strip ? 0 : this.#zoom;
  }

  #corner(channel) {
    const [, height, width] = this.#shape;
    const gap = this.#gap;
    const [row, column] = [Math.floor(channel / this.#columns), channel % this.#columns];
    return [column * (width * this.#zoom + gap), row * (height * this.#zoom + gap)];
  }

  #draw() {
    if (!this.#zoom) return;
    const context = this.#canvas.getContext("2d");
    const [channels, height, width] = this.#shape;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    context.imageSmoothingEnabled = false;
    const size = [width * this.#zoom, height * this.#zoom];
    for (let channel = 0; channel < channels; channel++) {
      context.drawImage(this.#sheet, 0, channel * height, width, height, ...this.#corner(channel), ...size);
    }
    for (const mark of this.#marks) this.#frame(context, mark);
  }

  /** A dark line within a light one, which stands out from every colour. */
  #frame(context, { channel, rows, columns }) {
    const [channels, height, width] = this.#shape;
    if (channel === null && !rows) { // all of the layer
      return this.#outline(context, 0, 0, this.#canvas.width / devicePixelRatio, this.#canvas.height / devicePixelRatio);
    }
    const [top, bottom] = rows ?? [0, height - 1];
    const [left, right] = columns ?? [0, width - 1];
    if (bottom < top || right < left) return; // all of it is padding
    const which = channel === null ? [...Array(channels).keys()] : [channel];
    for (const each of which) {
      const [x, y] = this.#corner(each);
      this.#outline(context, x + left * this.#zoom, y + top * this.#zoom, (right - left + 1) * this.#zoom, (bottom - top + 1) * this.#zoom);
    }
  }

  #outline(context, x, y, width, height) {
    context.lineWidth = 3;
    context.strokeStyle = "#fff";
    context.strokeRect(x + .5, y + .5, width - 1, height - 1);
    context.lineWidth = 1;
    context.strokeStyle = "#000";
    context.strokeRect(x + .5, y + .5, width - 1, height - 1);
  }

  #place(event) {
    const [channels, height, width] = this.#shape;
    const gap = this.#gap;
    const [column, row] = [event.offsetX / (width * this.#zoom + gap), event.offsetY / (height * this.#zoom + gap)].map(Math.floor);
    const channel = row * this.#columns + column;
    if (column < 0 || column >= this.#columns || channel < 0 || channel >= channels) return null;
    const [left, top] = this.#corner(channel);
    const [x, y] = [event.offsetX - left, event.offsetY - top].map((pixels) => Math.floor(pixels / this.#zoom));
    if (x >= width || y >= height) return null; // between two maps
    return this.#strip ? { channel, y: null, x: null } : { channel, y, x };
  }
}
