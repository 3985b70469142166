// The clipboard; where a browser lends it to nobody, a dialog to copy from by hand.

const SHOWN = 4000; // milliseconds that a sentence stands

export class Clipboard {
  #dialog;
  #text;
  #status;
  #timer;

  /** `parts` are elements by their ids: `copy` is the dialog, `copy-text` and `copied` are in it, `status` says what was copied. */
  constructor(parts) {
    [this.#dialog, this.#text, this.#status] = [parts.copy, parts["copy-text"], parts.status];
    parts.copied.addEventListener("click", () => this.#dialog.close());
  }

  /** Copies a text; `said` is what is said then. */
  async copy(text, said) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // by plain HTTP a browser lends its clipboard to the machine itself alone
      this.#text.value = text;
      this.#dialog.showModal();
      this.#text.select();
      return;
    }
    clearTimeout(this.#timer);
    this.#status.textContent = said;
    this.#timer = setTimeout(() => { this.#status.textContent = ""; }, SHOWN);
  }
}
