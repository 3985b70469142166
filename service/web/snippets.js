// "Copy as curl" and "Copy as Python": commands that ask the service what the page asked it.

import { element } from "./element.js";
import { header } from "./key.js";

const VARIABLE = "DIGITSCOPE_API_KEY"; // of the environment, so that the key itself is in no command

/** A request is { path, query, picture }, the picture as base64; without one it is only fetched. */
function curl({ path, query, picture }) {
  const url = `'${address(path, query)}'`;
  const authorization = header().Authorization ? `-H "Authorization: Bearer $${VARIABLE}" ` : "";
  if (!picture) return `curl -sS ${authorization}${url}\n`;
  return `base64 -d <<END | curl -sS ${authorization}--data-binary @- ${url}\n${picture}\nEND\n`; // an argument could be too long
}

function python({ path, query, picture }) {
  const body = picture ? `base64.b64decode("${picture}")` : "None";
  const authorized = Boolean(header().Authorization);
  return [
    `import base64, json, ${authorized ? "os, " : ""}urllib.request`,
    `request = urllib.request.Request("${address(path, query)}", ${body})`,
    ...(authorized ? [`request.add_header("Authorization", "Bearer " + os.environ["${VARIABLE}"])`] : []),
    "print(json.dumps(json.load(urllib.request.urlopen(request)), indent=1))",
    "",
  ].join("\n");
}

function address(path, query) {
  const parameters = new URLSearchParams(query).toString();
  return `${location.origin}${path}${parameters && `?${parameters}`}`.replaceAll("'", "%27");
}

export class Snippets {
  #buttons;
  #request;
  #copy;

  /** `copy` is called with a name and a text. */
  constructor(host, copy) {
    this.#copy = copy;
    this.#buttons = [["curl", curl], ["Python", python]].map(([name, write]) =>
      element("button", { type: "button", onclick: () => this.#copy(name, write(this.#request)) }, `Copy as ${name}`));
    host.append(...this.#buttons);
    this.offer(null);
  }

  /** What the buttons copy, if anything. */
  offer(request) {
    this.#request = request;
    for (const button of this.#buttons) button.disabled = request === null;
  }
}
