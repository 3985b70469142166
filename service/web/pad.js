// A canvas to draw on with mouse, pen or finger: black ink on white paper.

const THICKNESS = 20; // of 280 pixels, about that of MNIST's strokes

export class Pad {
  #canvas;
  #context;
  #last = null;

  /** `changed` is called, without arguments, whenever there is new ink. */
  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.clear();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#stroke(event);
      changed();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.#last === null) return;
      this.#stroke(event);
      changed();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => { this.#last = null; });
    }
  }

  clear() {
    this.#last = null;
    this.#context.fillStyle = "#fff";
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** Shows a picture on the paper, as large as fits. */
  async show(picture) {
    const bitmap = await createImageBitmap(picture);
    const { width, height } = this.#canvas;
    const scale = Math.min(width / bitmap.width, height / bitmap.height);
    this.clear();
    const size = [bitmap.width * scale, bitmap.height * scale];
    this.#context.drawImage(bitmap, (width - size[0]) / 2, (height - size[1]) / 2, ...size);
  }

  /** The drawing as a PNG, at once: Chromium puts toBlob off until it is idle, for up to a second. */
  picture() {
    const [, encoded] = this.#canvas.toDataURL("image/png").split(",");
    return new Blob([Uint8Array.from(atob(encoded), (byte) => byte.charCodeAt(0))], { type: "image/png" });
  }

  #stroke(event) {
    const box = this.#canvas.getBoundingClientRect();
    const zoom = this.#canvas.width / box.width;
    const point = [(event.clientX - box.left) * zoom, (event.clientY - box.top) * zoom];
    const context = this.#context;
    context.lineWidth = THICKNESS;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...(this.#last ?? point));
    context.lineTo(...point);
    context.stroke();
    this.#last = point;
  }
}
