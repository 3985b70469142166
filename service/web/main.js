// Wires the page: what is drawn, chosen, dropped, pasted or photographed goes to the service; the newest answer is shown.

import * as service from "./api.js";
import { Attribution } from "./attribution.js";
import { Bars } from "./bars.js";
import { Camera } from "./camera.js";
import { card } from "./card.js";
import { Clipboard } from "./clipboard.js";
import { Gallery } from "./gallery.js";
import { Inspector } from "./inspector.js";
import { Network } from "./network.js";
import { Newest } from "./newest.js";
import { Pad } from "./pad.js";
import { Palette } from "./palette.js";
import { decode, encode } from "./permalink.js";
import { base64, bytes } from "./png.js";
import { Seen } from "./seen.js";
import { Snippets } from "./snippets.js";
import { Tabs } from "./tabs.js";
import { Theme } from "./theme.js";
import { Verdict } from "./verdict.js";
import { Workbench } from "./workbench.js";

const PAUSE = 60; // milliseconds without new ink before the service is asked
const SETTLED = 300; // and without a change before the address is written; browsers refuse to write it for each key
const SMALL = 6000; // bytes of a picture that an address can hold
const COPIED = 200_000; // and a command
const FIRST = 3; // the digit of MNIST that is shown first
const CHOICES = ["span", "colours", "method", "target"];

const parts = Object.fromEntries(Array.from(document.querySelectorAll("[id]"), (part) => [part.id, part]));
new Theme(parts.theme);
const failed = (problem) => { parts.problem.textContent = problem; };
const [model, layers, palettes, text] = await Promise.all([
  service.model(),
  service.layers(),
  service.palettes(),
  service.modelCard().catch(() => ""), // a version may have none
]).catch((error) => {
  failed(`The service cannot be asked: ${error.message}`);
  throw error;
});
const names = layers.layers.map(({ name }) => name);
const palette = new Palette(palettes);
card(parts["panel-model"], model, layers, text, service.cardPicture);

let picture = null; // what was chosen, as { body, query }; null while the drawing counts
let digit = null; // what was answered last: { pixels, values, seen as base64, asked }
let kept = null; // the place that was clicked
let handed = true; // whether the workbench has the picture
let greeting = false; // while the first digit is shown, the address stays as it was
let written = null; // the address as it was written last
let writing;

const workbench = new Workbench(parts.workbench, service);
const clipboard = new Clipboard(parts);
const copy = (name, text) => clipboard.copy(text, `Copied as ${name}.`);
const snippets = Object.fromEntries(Array.from(document.querySelectorAll("[data-snippet]"), (host) => [host.dataset.snippet, new Snippets(host, copy)]));
const offer = (name, request) => {
  const about = request && !request.fetched ? { query: { preprocess: "none", ...request.query }, picture: digit.seen } : {};
  snippets[name].offer(request && { ...request, ...about });
};

const verdict = new Verdict(parts.answer, parts.digit, parts.guess);
const bars = new Bars(parts.bars);
const seen = new Seen(parts.seen, palette);
const pad = new Pad(parts.pad, () => {
  picture = null;
  ask();
});
const exemplars = model.manifest.index ? service.exemplars : async () => ({ exemplars: [] }); // a version may have none
const network = new Network(parts.network, layers.layers, palette, { pointed, chosen: keep });
const inspector = new Inspector(parts, layers.layers, palette, { ...service, exemplars }, { chosen: keep, offer });
const attribution = new Attribution(parts, seen, service, { offer, changed });
const neighbours = new Gallery(parts.neighbours);
const tabs = new Tabs(document.querySelector("[role=tablist]"), () => {
  hand();
  changed();
});
const camera = new Camera(parts, take);
const comparing = new Newest((problem) => neighbours.say(problem));
const answering = new Newest((problem) => {
  reset();
  failed(problem);
});

function ask() {
  parts.undo.disabled = !pad.strokes.length;
  greeting = handed = false;
  hand();
  const asked = picture ?? { body: pad.picture() };
  answering.ask(async (signal) => {
    const prediction = await service.predict(asked, signal);
    const pixels = await Seen.read(prediction.seen);
    return { asked, prediction, pixels, values: await service.activations(model.manifest, names, pixels, signal) };
  }, show, PAUSE);
}

function show({ asked, prediction, pixels, values }) {
  values.image = Float32Array.from(pixels);
  digit = { asked, pixels, values, seen: prediction.seen.split(",")[1] };
  failed("");
  verdict.show(prediction);
  bars.show(prediction.probabilities);
  seen.show(pixels, prediction.rejected ? `What the network saw: ${parts.digit.value}` : `What the network saw, and read as ${prediction.digit}`);
  network.show(values);
  inspector.digit = digit;
  attribution.show(pixels);
  if (model.manifest.index) comparing.ask((signal) => service.ask("neighbours", { count: 10 }, pixels, signal), showNeighbours, 2 * PAUSE);
  offerPrediction();
  offer("features", { path: "/v1/features", query: { layer: "all", format: "json" } });
  remember();
}

function showNeighbours(answer) {
  neighbours.show(answer.neighbours.map(({ image, label, distance }) => ({
    image, label: `a training digit, ${label}`, caption: `${label} · ${distance.toFixed(2)}`,
  })));
  offer("neighbours", { path: "/v1/neighbours", query: { count: 10 } });
}

/** The command asks about the picture itself, as the page did, unless that is too large for one. */
async function offerPrediction() {
  const { asked: { body, query } } = digit;
  const whole = body.size <= COPIED ? { query: query ?? {}, picture: await base64(body), fetched: true } : { query: {} };
  if (digit) offer("predict", { path: "/v1/predict", ...whole });
}

function pointed(place) {
  network.mark(place);
  const shown = place ?? kept;
  if (digit && shown) inspector.at(shown, place === null);
}

/** Keeps a place in view, until another one is kept. */
function keep(place) {
  kept = place;
  network.keep(place);
  inspector.at(place, true);
  changed();
}

/** Gives the picture to the workbench, once it is looked at. */
function hand() {
  if (handed || tabs.selected !== "tab-operators") return;
  handed = true;
  workbench.setPicture(picture?.body ?? pad.picture());
}

function reset() {
  digit = null;
  comparing.stop();
  for (const part of [verdict, bars, seen, network, attribution, neighbours]) part.clear();
  inspector.digit = null;
  for (const name of ["predict", "features", "neighbours"]) offer(name, null);
}

function clear() {
  answering.stop();
  picture = kept = null;
  pad.clear();
  parts.undo.disabled = true;
  failed("");
  reset();
  remember();
}

async function take(chosen, query) {
  if (!chosen) return;
  picture = { body: chosen, query };
  pad.clear();
  ask();
  await pad.show(chosen).catch(() => {}); // a format that only the service reads is answered all the same
}

function changed() {
  greeting = false;
  remember();
}

/** Writes the address: enough to open the same drawing or picture, in the same view. */
function remember() {
  if (greeting) return;
  clearTimeout(writing);
  writing = setTimeout(async () => {
    const view = {
      ...Object.fromEntries(CHOICES.map((name) => [name, parts[name].value])),
      tab: tabs.selected,
      place: kept ?? undefined,
      workbench: workbench.state,
      ...(picture ? digit && await held(digit) : { strokes: pad.strokes }),
    };
    history.replaceState(null, "", (written = encode(view)));
  }, SETTLED);
}

/** A picture as an address holds it: whole if it is small, or what was seen of it. */
async function held({ asked: { body, query }, seen }) {
  return body.size <= SMALL ? { picture: await base64(body), query } : { picture: seen, query: { preprocess: "none" } };
}

async function restore(view) {
  for (const name of CHOICES) {
    if ([...parts[name].options].some(({ value }) => value === view[name])) parts[name].value = view[name];
  }
  dress();
  workbench.restore(view.workbench ?? {}).catch(() => {}); // of an address that somebody made up
  if (isPlace(view.place)) keep(view.place);
  tabs.select(view.tab);
  const strokes = Array.isArray(view.strokes) ? view.strokes : [];
  if (strokes.length && strokes.flat().every(Number.isFinite)) {
    picture = null;
    pad.restore(strokes);
    ask();
  } else if (typeof view.picture === "string") {
    const query = view.query?.preprocess === "none" ? { preprocess: "none" } : undefined;
    await take(new Blob([bytes(view.picture)]), query);
  }
}

function isPlace(place) {
  const layer = layers.layers.find(({ name }) => name === place?.layer);
  const within = (value, size) => (size === undefined ? value === null : Number.isInteger(value) && value >= 0 && value < size);
  return Boolean(layer) && [place.channel, place.y, place.x].every((value, axis) => within(value, layer.shape[axis]));
}

/** Paints the legends. */
function ramps() {
  for (const ramp of document.querySelectorAll("[data-ramp]")) ramp.style.background = palette.gradient(ramp.dataset.ramp === "signed");
}

/** Paints all in the chosen colours. */
function dress() {
  palette.grey = parts.colours.value === "grey";
  ramps();
  network.span = parts.span.value;
  seen.draw();
  if (digit) inspector.digit = digit;
}

// The controls.

parts.clear.addEventListener("click", clear);
parts.undo.addEventListener("click", () => {
  pad.undo();
  if (pad.strokes.length) ask();
  else clear();
});
parts.thickness.addEventListener("input", () => { pad.thickness = parts.thickness.valueAsNumber; });
parts.file.addEventListener("change", () => {
  take(parts.file.files[0]);
  parts.file.value = ""; // so that the same file can be chosen again
});
parts.camera.hidden = !Camera.available;
parts.camera.addEventListener("click", () => camera.open().catch(() => failed("No camera can be used here.")));
for (const [name, dropping] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  parts["panel-network"].addEventListener(name, (event) => {
    event.preventDefault();
    parts.pad.classList.toggle("dropping", dropping);
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file && tabs.selected === "tab-network") take(file);
  if (file && tabs.selected === "tab-operators") workbench.setPicture(file);
});
for (const choice of [parts.span, parts.colours]) {
  choice.addEventListener("change", () => {
    dress();
    changed();
  });
}
parts.link.addEventListener("click", async () => {
  await new Promise((resolve) => { setTimeout(resolve, SETTLED); }); // until the address is written
  clipboard.copy(location.href, "Copied: whoever opens it sees what you see.");
});
addEventListener("hashchange", () => {
  const view = location.hash === written ? null : decode(location.hash);
  if (view) restore(view).catch(() => {});
});

offer("model", { path: "/v1/model", query: {}, fetched: true });
workbench.onchange = changed;
workbench.onanswer = async (sent, query) => {
  ramps();
  offer("operators", { path: "/v1/operators", query: { ...query, format: "json" }, picture: await base64(sent), fetched: true });
};
const samples = model.manifest.golden.map(({ image, label }) => {
  const body = Seen.picture(bytes(image));
  return { image: URL.createObjectURL(body), body, label: `a ${label} of MNIST` };
});
new Gallery(parts.samples, ({ body }) => take(body, { preprocess: "none" })).show(samples);
dress();
const view = decode(location.hash);
if (view) await restore(view).catch(() => {}); // an address that somebody has cut opens the page all the same
if (!pad.strokes.length && !picture) {
  take(samples[FIRST].body, { preprocess: "none" });
  greeting = true;
}
