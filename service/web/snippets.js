// "Copy as curl" and "Copy as Python": commands that ask the service what the page asked it.

import { element } from "./element.js";

/** A request is { path, query, picture }, the picture as base64. */
export function curl({ path, query, picture }) {
  const url = `'${address(path, query)}'`;
  return `base64 -d <<END | curl -sS --data-binary @- ${url}\n${picture}\nEND\n`; // an argument could be too long
}

export function python({ path, query, picture }) {
  return [
    "import base64, json, urllib.request",
    `request = urllib.request.Request("${address(path, query)}", base64.b64decode("${picture}"))`,
    "print(json.dumps(json.load(urllib.request.urlopen(request)), indent=1))",
  ].join("\n");
}

function address(path, query) {
  const parameters = new URLSearchParams(query).toString();
  return `${location.origin}${path}${parameters && `?${parameters}`}`.replaceAll("'", "%27");
}

export class Snippets {
  #host;
  #request;
  #told;

  /** `told` is called with a sentence when something was copied. */
  constructor(host, told) {
    [this.#host, this.#told] = [host, told];
    for (const [name, write] of [["curl", curl], ["Python", python]]) {
      host.append(element("button", { type: "button", onclick: () => this.#copy(name, write(this.#request)) }, `Copy as ${name}`));
    }
    this.offer(null);
  }

  /** What the buttons copy; null hides them. */
  offer(request) {
    this.#request = request;
    this.#host.hidden = request === null;
  }

  async #copy(name, text) {
    try {
      await navigator.clipboard.writeText(text);
      this.#told(`Copied as ${name}.`);
    } catch { // by plain HTTP a browser lends its clipboard to the machine itself alone
      window.prompt(`Copy it from here, as ${name}:`, text);
    }
  }
}
