// Wires the page: what is drawn, chosen, dropped, pasted or photographed goes to the service; the newest answer is shown.

import * as service from "./api.js";
import { Attribution } from "./attribution.js";
import { Bars } from "./bars.js";
import { Camera } from "./camera.js";
import { card } from "./card.js";
import { Gallery } from "./gallery.js";
import { Inspector } from "./inspector.js";
import { Network } from "./network.js";
import { Newest } from "./newest.js";
import { Pad } from "./pad.js";
import { Palette } from "./palette.js";
import { decode, encode } from "./permalink.js";
import { base64 } from "./png.js";
import { Seen } from "./seen.js";
import { Snippets } from "./snippets.js";
import { Tabs } from "./tabs.js";
import { Theme } from "./theme.js";
import { Verdict } from "./verdict.js";
import { Workbench } from "./workbench.js";

const PAUSE = 60; // milliseconds without new ink before the service is asked
const parts = Object.fromEntries(Array.from(document.querySelectorAll("[id]"), (part) => [part.id, part]));
new Theme(parts.theme);
const [model, layers, palettes] = await Promise.all([service.model(), service.layers(), service.palettes()]);
const names = layers.layers.map(({ name }) => name);
const palette = new Palette(palettes);

let picture = null; // what was chosen, as { body, query }; null while the drawing counts
let handed = true; // whether the workbench has the picture
let digit = null; // what was answered last: { pixels, picture as base64, values }
let kept = null; // the place that was clicked

const told = (text) => { parts.status.textContent = text; };
const failed = (error) => { parts.problem.textContent = error.message; };
const snippets = Object.fromEntries(Array.from(document.querySelectorAll("[data-snippet]"), (host) => [host.dataset.snippet, new Snippets(host, told)]));
const offer = (name, request) =>
  snippets[name].offer(request && { ...request, query: { preprocess: "none", ...request.query }, picture: digit.picture });

const verdict = new Verdict(parts.answer, parts.digit, parts.guess);
const bars = new Bars(parts.bars);
const seen = new Seen(parts.seen, palette);
const pad = new Pad(parts.pad, () => {
  picture = null;
  ask();
});
const network = new Network(parts.network, layers.layers, palette, { pointed, chosen: keep });
const exemplars = model.manifest.index ? service.exemplars : async () => ({ exemplars: [] }); // a version may have none
const inspector = new Inspector(parts, layers.layers, palette, { ...service, exemplars }, { chosen: keep, offer, failed });
const attribution = new Attribution(parts, seen, service, { offer, failed, changed: remember });
const neighbours = new Gallery(parts.neighbours);
const workbench = new Workbench(parts.workbench, service);
const tabs = new Tabs(document.querySelector("[role=tablist]"), () => {
  hand();
  remember();
});
const camera = new Camera({ dialog: parts.shutter, finder: parts.finder, shoot: parts.shoot, cancel: parts.cancel }, take);
const answering = new Newest((error) => {
  reset();
  failed(error);
});
const comparing = new Newest(failed);

function ask() {
  parts.undo.disabled = !pad.strokes.length;
  handed = false;
  hand();
  const asked = picture ?? { body: pad.picture() };
  answering.ask(async (signal) => {
    const prediction = await service.predict(asked, signal);
    const pixels = await Seen.read(prediction.seen);
    return { prediction, pixels, values: await service.activations(model.manifest, names, pixels, signal) };
  }, show, PAUSE);
}

/** Gives the picture to the workbench, once it is looked at. */
function hand() {
  if (handed || tabs.selected !== "tab-operators") return;
  handed = true;
  workbench.setPicture(picture?.body ?? pad.picture());
}

function show({ prediction, pixels, values }) {
  values.image = Float32Array.from(pixels);
  digit = { pixels, values, picture: prediction.seen.split(",")[1] };
  parts.problem.textContent = "";
  verdict.show(prediction);
  bars.show(prediction.probabilities);
  seen.show(pixels, prediction.rejected ? `What the network saw: ${parts.digit.value}` : `What the network saw, and read as ${prediction.digit}`);
  network.show(values);
  inspector.digit = digit;
  attribution.show(pixels);
  if (model.manifest.index) comparing.ask((signal) => service.look("neighbours", { count: 10 }, pixels, signal), (answer) => {
    neighbours.show(answer.neighbours.map(({ image, label, distance }) => ({ image, label: `a training digit, ${label}`, caption: `${label} · ${distance.toFixed(2)}` })));
    offer("neighbours", { path: "/v1/neighbours", query: { count: 10 } });
  }, 2 * PAUSE);
  offer("predict", { path: "/v1/predict", query: {} });
  offer("features", { path: "/v1/features", query: { layer: "all", format: "json" } });
  remember();
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
  remember();
}

function reset() {
  digit = null;
  comparing.stop();
  for (const part of [verdict, bars, seen, network, attribution, neighbours]) part.clear();
  inspector.digit = null;
  for (const [name, part] of Object.entries(snippets)) if (name !== "operators") part.offer(null);
}

function clear() {
  answering.stop();
  picture = kept = null;
  pad.clear();
  parts.undo.disabled = true;
  parts.problem.textContent = "";
  reset();
  remember();
}

async function take(chosen, query = {}) {
  if (!chosen) return;
  picture = { body: chosen, query };
  pad.clear();
  ask();
  await pad.show(chosen).catch(() => {}); // a format that only the service reads is answered all the same
}

// What the address holds: enough to open the same drawing, or what was seen of a picture, in the same view.

function remember() {
  if (!restored) return;
  const view = {
    tab: tabs.selected,
    strokes: picture ? undefined : pad.strokes,
    seen: picture ? digit?.picture : undefined,
    place: kept ?? undefined,
    span: parts.span.value,
    colours: parts.colours.value,
    method: parts.method.value,
    target: parts.target.value,
    workbench: workbench.state,
  };
  history.replaceState(null, "", encode(view));
}

async function restore(view) {
  for (const name of ["span", "colours", "method", "target"]) {
    if ([...parts[name].options].some(({ value }) => value === view[name])) parts[name].value = view[name];
  }
  dress();
  workbench.restore(view.workbench ?? {});
  const { place } = view;
  const layer = layers.layers.find(({ name }) => name === place?.layer);
  const within = (value, size) => (size === undefined ? value === null : Number.isInteger(value) && value >= 0 && value < size);
  if (layer && [place.channel, place.y, place.x].every((value, axis) => within(value, layer.shape[axis]))) {
    kept = place;
    network.keep(place);
    inspector.at(place, true);
  }
  tabs.select(view.tab);
  const strokes = Array.isArray(view.strokes) ? view.strokes : [];
  if (strokes.length && strokes.flat().every(Number.isFinite)) {
    pad.restore(strokes);
    ask();
  } else if (typeof view.seen === "string") {
    const bytes = Uint8Array.from(atob(view.seen), (letter) => letter.charCodeAt(0));
    await take(new Blob([bytes], { type: "image/png" }), { preprocess: "none" });
  }
}

function dress() {
  palette.grey = parts.colours.value === "grey";
  for (const ramp of document.querySelectorAll("[data-ramp]")) ramp.style.background = palette.gradient(ramp.dataset.ramp === "signed");
  network.span = parts.span.value;
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
parts.camera.addEventListener("click", () => camera.open().catch(() => failed(new Error("no camera can be used here"))));
for (const [name, dropping] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  parts.pad.addEventListener(name, (event) => {
    event.preventDefault();
    parts.pad.classList.toggle("dropping", dropping);
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file && tabs.selected === "tab-network") take(file);
});
for (const choice of [parts.span, parts.colours]) {
  choice.addEventListener("change", () => {
    dress();
    remember();
  });
}
parts.link.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    told("Copied: whoever opens it sees what you see.");
  } catch { // by plain HTTP a browser lends its clipboard to the machine itself alone
    told("This browser does not let the page copy; the link is the page's own address.");
  }
});

const samples = new Gallery(parts.samples, ({ body }) => take(body, { preprocess: "none" }));
samples.show(model.manifest.golden.map(({ image, label }) => {
  const body = Seen.picture(Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0)));
  return { image: URL.createObjectURL(body), body, label: `a ${label} of MNIST` };
}));
card(parts["panel-model"], model, layers);
workbench.onchange = remember;
workbench.onanswer = async (sent, query) =>
  snippets.operators.offer({ path: "/v1/operators", query: { ...query, format: "json" }, picture: await base64(sent) });

dress();
let restored = false;
const view = decode(location.hash);
if (view) await restore(view).catch(() => {}); // an address that somebody has cut opens the page all the same
restored = true;
