// Wires the page: what is drawn or dropped goes to the service, and the newest answer is shown.

import { featureSheet, layerNames, predict } from "./api.js";
import { Bars } from "./bars.js";
import { Pad } from "./pad.js";
import { Verdict } from "./verdict.js";

const PAUSE = 60; // milliseconds without new ink before the service is asked
const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=";
const [canvas, section, digit, guess, seen, maps, problem, layer, scale, file] =
  ["pad", "answer", "digit", "guess", "seen", "maps", "problem", "layer", "scale", "file"].map((id) => document.getElementById(id));
const verdict = new Verdict(section, digit, guess);
const bars = new Bars(document.getElementById("bars"));
const pad = new Pad(canvas, () => {
  picture = null;
  ask();
});
let picture = null; // what was dropped or chosen, as it came; null while the drawing counts
let timer;
let running = new AbortController();

function ask() {
  clearTimeout(timer);
  timer = setTimeout(answer, PAUSE);
}

async function answer() {
  running.abort();
  const { signal } = (running = new AbortController());
  try {
    const asked = picture ?? pad.picture();
    const unlessAborted = (show) => (value) => { if (!signal.aborted) show(value); };
    await Promise.all([
      predict(asked, signal).then(unlessAborted(showPrediction)),
      featureSheet(asked, layer.value, scale.value, signal).then(unlessAborted(showMaps)),
    ]);
  } catch (error) {
    if (signal.aborted) return;
    reset();
    problem.textContent = error.message;
  }
}

function showPrediction(prediction) {
  problem.textContent = "";
  verdict.show(prediction);
  seen.src = prediction.seen;
  seen.alt = prediction.rejected ? `What the network saw: ${digit.value}` : `What the network saw, and read as ${digit.value}`;
  bars.show(prediction.probabilities);
}

function showMaps(sheet) {
  URL.revokeObjectURL(maps.src);
  maps.src = URL.createObjectURL(sheet);
  maps.alt = `Feature maps of ${layer.value}`;
  maps.hidden = false;
}

function reset() {
  verdict.clear();
  seen.src = BLANK;
  seen.alt = "What the network saw: nothing yet";
  bars.clear();
  maps.hidden = true;
}

function clear() {
  clearTimeout(timer);
  running.abort();
  picture = null;
  pad.clear();
  reset();
  problem.textContent = "";
}

async function take(chosen) {
  if (!chosen) return;
  picture = chosen;
  pad.clear();
  ask();
  await pad.show(chosen).catch(() => {}); // a format that only the service reads is answered all the same
}

document.getElementById("clear").addEventListener("click", clear);
file.addEventListener("change", () => {
  take(file.files[0]);
  file.value = ""; // so that the same file can be chosen again
});
for (const choice of [layer, scale]) {
  choice.addEventListener("change", () => { if (!maps.hidden) ask(); });
}
for (const [name, dropping] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  canvas.addEventListener(name, (event) => {
    event.preventDefault();
    canvas.classList.toggle("dropping", dropping);
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}
layer.append(...(await layerNames()).map((name) => new Option(name)));
