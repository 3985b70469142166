// A canvas to draw on with mouse, pen or finger: black ink on white paper, stroke by stroke.

import { png } from "./png.js";

export class Pad {
  #canvas;
  #context;
  #strokes = []; // each [thickness, x, y, x, y, …] in pixels of the canvas
  #drawing = false;
  #changed;
  thickness = 20; // of 280 pixels, about that of MNIST's strokes

  /** `changed` is called, without arguments, whenever there is new ink. */
  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#changed = changed;
    this.clear();
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button) return; // a second finger, or another button
      if (!this.#strokes.length) this.clear(); // of a picture that is shown
      canvas.setPointerCapture(event.pointerId);
      this.#drawing = true;
      this.#strokes.push([this.thickness]);
      this.#draw(event);
    });
    canvas.addEventListener("pointermove", (event) => { if (this.#drawing && event.isPrimary) this.#draw(event); });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => { this.#drawing = false; });
    }
  }

  /** What has been drawn, for `restore`; empty where a picture is shown, or nothing. */
  get strokes() {
    return this.#strokes;
  }

  clear() {
    this.#drawing = false;
    this.#strokes = [];
    this.#blank();
  }

  /** Takes the last stroke away. */
  undo() {
    this.restore(this.#strokes.slice(0, -1));
  }

  restore(strokes) {
    this.#strokes = strokes.map((stroke) => [...stroke]);
    this.#blank();
    for (const stroke of this.#strokes) this.#ink(stroke, 1);
  }

  /** Shows a picture on the paper, as large as fits. */
  async show(picture) {
    const bitmap = await createImageBitmap(picture);
    const { width, height } = this.#canvas;
    const scale = Math.min(width / bitmap.width, height / bitmap.height);
    this.clear();
    this.#context.imageSmoothingEnabled = bitmap.width > 28;
    const size = [bitmap.width * scale, bitmap.height * scale];
    this.#context.drawImage(bitmap, (width - size[0]) / 2, (height - size[1]) / 2, ...size);
  }

  /** The drawing as a PNG. */
  picture() {
    return png(this.#canvas);
  }

  #blank() {
    this.#context.fillStyle = "#fff";
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #draw(event) {
    const box = this.#canvas.getBoundingClientRect();
    const zoom = this.#canvas.width / box.width;
    const stroke = this.#strokes.at(-1);
    stroke.push(Math.round((event.clientX - box.left) * zoom), Math.round((event.clientY - box.top) * zoom));
    this.#ink(stroke, stroke.length - 2);
    this.#changed();
  }

  /** Draws the pieces of a stroke that end at `from` or later: one by one, so that a restored one has the same pixels. */
  #ink(stroke, from) {
    const context = this.#context;
    context.lineWidth = stroke[0];
    context.lineCap = "round";
    for (let place = from; place < stroke.length; place += 2) {
      const start = Math.max(1, place - 2);
      context.beginPath();
      context.moveTo(stroke[start], stroke[start + 1]);
      context.lineTo(stroke[place], stroke[place + 1]);
      context.stroke();
    }
  }
}
