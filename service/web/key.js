// The API key, where the service wants one: asked for when it is missed, and kept for this tab alone.

import { element } from "./element.js";

const KEPT = "api-key";
const VISIBLE = /^[!-~]+$/; // what a header can hold

let asking = null;

/** The header of a key that was entered; none as long as none was. */
export function header() {
  const key = sessionStorage.getItem(KEPT);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/**
 * Asks for a key that is better than what was sent in vain, a header as above, and settles once there is one; whoever
 * asks meanwhile waits for the same. Fails if none is entered.
 */
export function better(sent) {
  if (header().Authorization !== sent.Authorization) return Promise.resolve(); // entered since then
  asking ??= entered(Boolean(sent.Authorization)).finally(() => { asking = null; });
  return asking;
}

function entered(again) {
  const field = element("input", { type: "password", autocomplete: "off", required: true });
  const problem = element("p", { role: "alert", className: "problem" }, again ? "The service does not know this key." : "");
  const form = element("form", {},
    element("p", {}, "This service answers those who have an API key."),
    element("p", { className: "controls" }, element("label", {}, "Key ", field), element("button", {}, "Use it")),
    problem);
  const dialog = element("dialog", { id: "key", ariaLabel: "API key" }, form);
  return new Promise((resolve, reject) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = field.value.trim();
      if (!VISIBLE.test(key)) {
        problem.textContent = "A key has no blanks and no letters beyond ASCII.";
        return;
      }
      sessionStorage.setItem(KEPT, key);
      dialog.close();
      resolve();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      reject(new Error("it needs an API key, and none was entered")); // in vain, if one was
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
