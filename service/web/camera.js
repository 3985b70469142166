// The camera in a dialog, of which one picture is taken.

import { png } from "./png.js";

export class Camera {
  #dialog;
  #finder;
  #stream = null;

  /** Elements by their ids: `shutter` is the dialog, the others are in it; `taken` is called with a picture. */
  constructor({ shutter: dialog, finder, shoot, cancel }, taken) {
    [this.#dialog, this.#finder] = [dialog, finder];
    shoot.addEventListener("click", () => {
      const picture = this.#picture();
      dialog.close();
      taken(picture);
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      for (const track of this.#stream?.getTracks() ?? []) track.stop();
      this.#stream = this.#finder.srcObject = null;
    });
  }

  /** Whether this browser lends a camera to this page; by plain HTTP it does for the machine itself alone. */
  static get available() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  /** Opens the camera that looks away from its user; throws where there is none, or it is not allowed. */
  async open() {
    this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    this.#finder.srcObject = this.#stream;
    this.#dialog.showModal();
  }

  #picture() {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.#finder.videoWidth, this.#finder.videoHeight];
    canvas.getContext("2d").drawImage(this.#finder, 0, 0);
    return png(canvas);
  }
}
