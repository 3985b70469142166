// A workbench: one operator of a convolutional network on a picture, input and output side by side.

import { element } from "./element.js";
import { Kernel, asQuery, read } from "./kernel.js";
import { Magnified, pixels } from "./magnified.js";
import { Newest } from "./newest.js";
import { png } from "./png.js";

const PAUSE = 60; // milliseconds without a change before the service is asked
const LONGEST = 512; // pixels along a picture's longer side; a larger one is scaled down before it is sent
const LARGEST_ZOOM = 12; // screen pixels along a picture's pixel
const TALLEST = 420; // screen pixels of a picture's height
const SIDE_BY_SIDE = 560; // screen pixels of width from which on the output is beside the input
const GAP = 20; // between them
const CAPTION = 130; // screen pixels that a picture's caption has at least
const OWN = "own";
const LABELS = {
  operator: "Operator",
  kernel: "Kernel",
  size: "Size",
  rows: "Rows",
  columns: "Columns",
  stride: "Stride",
  padding: "Padding",
  show: "Shown as",
};
const PADDINGS = [["valid", "valid: none"], ["half", "half: size stays"], ["full", "full: every overlap"]];
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function section(name, ...children) {
  const made = element("section", {}, element("h2", {}, name), ...children);
  made.setAttribute("aria-label", name);
  return made;
}

/** A number as people read it, with three digits that count. */
function figure(value) {
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

function named(axis, [first, last]) {
  return first === last ? `${axis} ${first}` : `${axis}s ${figure(first)} to ${figure(last)}`;
}

/**
 * The input columns and rows, each as first and last, of which the output value in column x and row y is made.
 *
 * Those beyond the input are padding. Where no input pixel reaches the value, the last is before the first.
 */
function windowOf({ operator, input, window, stride, padding }, x, y) {
  const along = (place, side) => {
    const cells = window ? window[side] : 1;
    const start = place * stride - padding[side];
    if (operator !== "transposed-convolution") return [start, start + cells - 1];
    const end = place + padding[side];
    return [Math.max(0, Math.ceil((end - cells + 1) / stride)), Math.min(input[side] - 1, Math.floor(end / stride))];
  };
  return [along(x, "width"), along(y, "height")];
}

function numbers(most) {
  return Array.from({ length: most }, (_, index) => [index + 1, index + 1]);
}

/** Offers the options, each a value and a text. */
function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
}

/** Chooses a value if it is offered. */
function choose(select, value) {
  if ([...select.options].some((option) => option.value === String(value))) select.value = value;
}

/** A control is shown or hidden together with its label. */
function display(select, visible) {
  select.parentElement.hidden = !visible;
}

function displayed(select) {
  return !select.parentElement.hidden;
}

/** The picture; or a smaller one in its stead, with the whole one's size. What only the service reads stays whole. */
async function smaller(picture) {
  const bitmap = await createImageBitmap(picture).catch(() => null);
  const scale = bitmap ? LONGEST / Math.max(bitmap.width, bitmap.height) : 1;
  if (scale >= 1) return { picture };
  const size = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = element("canvas", { width: size[0], height: size[1] });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, ...size);
  return { picture: png(canvas), whole: { width: bitmap.width, height: bitmap.height } };
}

export class Workbench {
  /** Called, without arguments, when something else was chosen than before. */
  onchange = () => {};
  /** Called with the picture and the query of each answer that is shown. */
  onanswer = () => {};
  /** Settles when the operators are listed, or it is said why they are not. */
  ready;

  #host;
  #service;
  #listed = { operators: [], kernels: [], shows: [], limits: {} };
  #latest; // the picture that came last, which may still be made smaller
  #picture = null; // the one that is sent
  #whole; // the size of the one that it was made of, if it was larger
  #answer = null;
  #pixel = null; // of the output, that is pointed at
  #takes = ""; // which parameters the operator has
  #awaited = {}; // the state to come, until the operators are listed
  #asking = new Newest((problem) => this.#say(problem));
  #input = new Magnified();
  #output = new Magnified();
  #grid = new Kernel(() => this.#edited());
  #selects = Object.fromEntries(
    Object.keys(LABELS).map((name) => [name, element("select", { id: `workbench-${name}` })]),
  );
  #file = element("input", { type: "file", accept: "image/*", className: "file" });
  #description = element("p", { className: "note" });
  #kind = element("p", { className: "note" }); // of kernel
  #fieldset = element(
    "fieldset",
    {},
    element("legend", {}, "Weights"),
    this.#kind,
    element("div", { className: "weights" }, this.#grid.table),
  );
  #pictures = element("div", { className: "pictures" }, this.#input.figure, this.#output.figure);
  #pointed = element("p", { className: "note pointed" });
  #legend = element("p", { className: "note span", hidden: true });
  #facts = element("dl", { className: "facts" });
  #problem = element("p", { className: "problem" });

  /**
   * `service.operators()` gives what GET /v1/operators answers, and `service.operate(picture, query, signal)` what POST
   * /v1/operators answers in JSON. Either throws an Error with the sentence to show.
   */
  constructor(host, service) {
    [this.#host, this.#service] = [host, service];
    this.#build();
    this.ready = this.#list();
  }

  /** What is chosen, as plain JSON: the query that is sent. */
  get state() {
    const { operator, kernel, size, stride, padding, show } = this.#selects;
    if (this.#awaited) return this.#awaited;
    const state = { operator: operator.value };
    if (displayed(kernel) && kernel.value === OWN) state.kernel = asQuery(this.#grid.weights);
    else if (displayed(kernel) && kernel.value) state.kernel = kernel.value;
    if (displayed(size) && Number(size.value) !== this.#usualSize) state.size = Number(size.value);
    if (displayed(stride) && stride.value !== this.#usualStride) state.stride = Number(stride.value);
    if (displayed(padding) && padding.value !== PADDINGS[0][0]) state.padding = padding.value;
    if (show.value) state.show = show.value;
    return state;
  }

  /** Chooses what a state says, and where that is nothing known, what the operator takes by itself. */
  async restore(state) {
    this.#awaited = state;
    await this.ready;
    if (!this.#listed.operators.length) return;
    this.#awaited = null;
    const weights = read(state.kernel, this.#listed.limits.size);
    this.#selects.operator.selectedIndex = 0;
    choose(this.#selects.operator, state.operator);
    this.#reset();
    if (weights) this.#grid.show(weights);
    choose(this.#selects.kernel, weights ? OWN : state.kernel ?? "");
    this.#arrange();
    for (const name of ["size", "stride", "padding", "show"]) choose(this.#selects[name], state[name] ?? "");
    this.#ask();
  }

  /** Takes another picture, a Blob. */
  async setPicture(picture) {
    this.#latest = picture;
    const taken = await smaller(picture);
    if (this.#latest !== picture) return;
    [this.#picture, this.#whole] = [taken.picture, taken.whole];
    this.#ask();
  }

  #build() {
    const controls = Object.entries(this.#selects).map(([name, select]) =>
      element("p", { className: "control" }, element("label", { htmlFor: select.id }, LABELS[name]), select),
    );
    const choice = element("label", { className: "button" }, "Choose or drop a picture", this.#file);
    this.#problem.setAttribute("role", "alert");
    this.#facts.setAttribute("aria-live", "polite");
    this.#pointed.setAttribute("aria-live", "polite");
    this.#output.box.tabIndex = 0;
    this.#output.box.setAttribute("role", "group");
    this.#output.box.setAttribute("aria-label", "Output; the arrow keys point at its pixels");
    const words = element("div", { className: "words" }, this.#problem, this.#pointed);
    const settings = section("What is done", choice, ...controls, this.#description, this.#fieldset);
    const snippets = element("div", { className: "snippets", "data-snippet": "operators" });
    const results = section("Input and output", this.#pictures, words, this.#legend, this.#facts, snippets);
    this.#host.classList.add("workbench");
    this.#host.append(settings, results);
    this.#listen();
    this.#hint("Choose or drop a picture to begin.");
  }

  #listen() {
    const { operator, kernel, rows, columns, ...others } = this.#selects;
    operator.addEventListener("change", () => this.#changed(() => this.#follow()));
    kernel.addEventListener("change", () => this.#changed(() => this.#arrange()));
    const resize = () => this.#grid.resize(Number(rows.value), Number(columns.value));
    for (const side of [rows, columns]) side.addEventListener("change", () => this.#changed(resize));
    for (const select of Object.values(others)) select.addEventListener("change", () => this.#changed(() => {}));
    this.#file.addEventListener("change", () => {
      if (this.#file.files[0]) this.setPicture(this.#file.files[0]);
      this.#file.value = ""; // so that the same file can be chosen again
    });
    for (const [name, dropping] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
      this.#host.addEventListener(name, (event) => {
        event.preventDefault();
        this.#host.classList.toggle("dropping", dropping);
        if (name === "drop" && event.dataTransfer.files[0]) this.setPicture(event.dataTransfer.files[0]);
      });
    }
    const { box } = this.#output;
    for (const name of ["pointerdown", "pointermove"]) {
      box.addEventListener(name, (event) => {
        const { left, top } = box.getBoundingClientRect();
        this.#point((event.clientX - left) / this.#output.zoom, (event.clientY - top) / this.#output.zoom);
      });
    }
    box.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType !== "touch") this.#unpoint(); // a finger that was lifted has left too
    });
    box.addEventListener("blur", () => this.#unpoint());
    box.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const [x, y] = this.#pixel ?? [-step[0], -step[1]];
      this.#point(x + step[0], y + step[1]);
    });
    new ResizeObserver(() => this.#fit()).observe(this.#pictures);
  }

  async #list() {
    try {
      this.#listed = await this.#service.operators();
    } catch (error) {
      this.#problem.textContent = error.message;
      return;
    }
    const { operators, shows, limits } = this.#listed;
    const { operator, rows, columns, padding, show } = this.#selects;
    fill(operator, operators.map(({ name }) => [name, name]));
    fill(show, [["", "what suits"], ...shows.map(({ name }) => [name, name])]);
    fill(padding, PADDINGS);
    for (const side of [rows, columns]) fill(side, numbers(limits.size));
    this.#awaited = null;
    this.#reset();
    this.#ask();
  }

  /** The chosen operator and, if it is a named one, the chosen kernel, as they are listed. */
  get #chosen() {
    const { operator, kernel } = this.#selects;
    const { operators, kernels } = this.#listed;
    return {
      operator: operators.find(({ name }) => name === operator.value),
      kernel: kernels.find(({ name }) => name === kernel.value),
    };
  }

  get #usualSize() {
    const { operator, kernel } = this.#chosen;
    return operator.parameters.size ?? kernel?.size;
  }

  get #usualStride() {
    return String(this.#chosen.operator.parameters.stride ?? "");
  }

  /** Chooses what the operator takes by itself. */
  #reset() {
    const { stride, padding } = this.#selects;
    this.#offerKernels();
    fill(stride, [...(this.#usualStride ? [] : [["", "as the window"]]), ...numbers(this.#listed.limits.stride)]);
    choose(stride, this.#usualStride);
    choose(padding, PADDINGS[0][0]);
    this.#arrange("");
  }

  /** After another operator was chosen: one that takes the same keeps it. */
  #follow() {
    const { kernel } = this.#selects;
    const before = kernel.value;
    const took = this.#takes;
    this.#offerKernels();
    if (took !== this.#takes) return this.#reset();
    choose(kernel, before);
    this.#arrange();
  }

  /** Offers the kernels that the operator can have, with its usual one chosen. */
  #offerKernels() {
    const { parameters } = this.#chosen.operator;
    const none = parameters.kernel === null ? [["", "none"]] : [];
    fill(this.#selects.kernel, [...none, ...this.#listed.kernels.map(({ name }) => [name, name]), [OWN, "your own"]]);
    choose(this.#selects.kernel, parameters.kernel ?? "");
    this.#takes = JSON.stringify([Object.keys(parameters), parameters.stride]);
  }

  /** Shows the controls that the chosen operator and kernel have; their size stays if they can have it. */
  #arrange(before = this.#selects.size.value) {
    const { kernel, size, rows, columns, stride, padding } = this.#selects;
    const { operator, kernel: named } = this.#chosen;
    const takesKernel = "kernel" in operator.parameters;
    const own = takesKernel && kernel.value === OWN;
    const byItself = takesKernel && kernel.value === "";
    display(kernel, takesKernel);
    display(size, takesKernel ? Boolean(named?.sized) : "size" in operator.parameters);
    display(rows, own);
    display(columns, own);
    display(stride, !byItself);
    display(padding, !byItself && "padding" in operator.parameters);
    this.#fieldset.hidden = !takesKernel || byItself;
    fill(size, numbers(this.#listed.limits.size).filter(([number]) => !(takesKernel && named?.odd) || number % 2));
    choose(size, this.#usualSize);
    choose(size, before);
    if (named && (!named.sized || Number(size.value) === named.size)) this.#grid.show(named.values);
    choose(rows, this.#grid.weights.length);
    choose(columns, this.#grid.weights[0]?.length);
    this.#description.textContent = `${operator.name} ${operator.description}.`;
    this.#kind.textContent = named ? `${named.name}: ${named.description}.` : "";
  }

  #changed(change) {
    change();
    this.#ask();
    this.onchange();
  }

  #edited() {
    this.#changed(() => {
      choose(this.#selects.kernel, OWN);
      this.#arrange();
    });
  }

  #ask() {
    if (!this.#picture || !this.#listed.operators.length) return;
    if (!this.#fieldset.hidden && this.#grid.problem) {
      this.#asking.stop();
      this.#say(this.#grid.problem);
      return;
    }
    const [picture, query] = [this.#picture, this.state];
    this.#asking.ask((signal) => this.#service.operate(picture, query, signal), (answer) => {
      this.#show(answer);
      this.onanswer(picture, query);
    }, PAUSE);
  }

  /** Says what keeps the output from being that of what is chosen. */
  #say(problem) {
    this.#problem.textContent = problem;
    this.#output.figure.classList.add("stale");
  }

  #show(answer) {
    const { input, output, seen, picture, kernel, shown } = (this.#answer = answer);
    this.#problem.textContent = "";
    this.#output.figure.classList.remove("stale");
    this.#input.show(seen, input, "Input");
    this.#output.show(picture, output, "Output");
    if (kernel && this.#selects.kernel.value !== OWN) this.#grid.show(kernel);
    this.#explain(answer);
    this.#explainColours(shown);
    this.#unpoint();
    this.#fit();
  }

  #explain({ formula, input, output, minimum, maximum, multiply_adds }) {
    const size = formula
      ? formula.width === formula.height
        ? [["Width and height", formula.width]]
        : [["Width", formula.width], ["Height", formula.height]]
      : [["Size", `stays ${pixels(output)}: each pixel by itself`]];
    const facts = [
      ...size,
      ["Values", `${figure(minimum)} to ${figure(maximum)}`],
      ["Multiply-adds", multiply_adds.toLocaleString("en")],
    ];
    if (this.#whole) facts.push(["Picture", `scaled down from ${pixels(this.#whole)} to ${pixels(input)}`]);
    const terms = facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
    this.#facts.replaceChildren(...terms);
  }

  #explainColours({ show, low, high }) {
    const bar = element("span", { className: "bar" });
    if (show === "signed") bar.dataset.ramp = show;
    const { description } = this.#listed.shows.find(({ name }) => name === show);
    const meaning = element("span", { className: "meaning" }, `${show}: ${description}`);
    this.#legend.replaceChildren(figure(low), bar, figure(high), meaning);
    this.#legend.hidden = false;
  }

  /** Draws both pictures at the same zoom, as large as there is room for. */
  #fit() {
    if (!this.#answer) return;
    const room = this.#pictures.clientWidth;
    const sizes = [this.#input.size, this.#output.size];
    const [narrow, wide] = sizes.map(({ width }) => width).sort((a, b) => a - b);
    let across = room / wide;
    if (room >= SIDE_BY_SIDE) {
      across = (room - GAP) / (narrow + wide);
      if (narrow * across < CAPTION) across = (room - GAP - CAPTION) / wide;
    }
    const zoom = Math.min(LARGEST_ZOOM, across, TALLEST / Math.max(...sizes.map(({ height }) => height)));
    for (const view of [this.#input, this.#output]) view.scale(zoom > 1 ? Math.floor(zoom) : zoom);
    this.#unpoint();
  }

  /** Marks a pixel of the output, and the window of the input behind it. */
  #point(x, y) {
    if (!this.#answer) return;
    const { input, output } = this.#answer;
    const within = (place, size) => Math.min(Math.max(Math.floor(place), 0), size - 1);
    const [column, row] = (this.#pixel = [within(x, output.width), within(y, output.height)]);
    const [columns, rows] = windowOf(this.#answer, column, row);
    const reached = columns[0] <= columns[1] && rows[0] <= rows[1];
    const padded = Math.min(columns[0], rows[0]) < 0 || columns[1] >= input.width || rows[1] >= input.height;
    const from = `of input ${named("column", columns)} and ${named("row", rows)}${padded ? ", padding included" : ""}`;
    this.#output.mark([column, column], [row, row]);
    if (reached) this.#input.mark(columns, rows);
    else this.#input.unmark();
    this.#hint(`Output column ${column}, row ${row}, counted from 0: ${reached ? from : "no input pixel reaches it"}.`);
  }

  #unpoint() {
    this.#pixel = null;
    this.#input.unmark();
    this.#output.unmark();
    if (this.#answer) this.#hint("Point at the output, or use the arrow keys on it, to see what a value is made of.");
  }

  #hint(text) {
    if (this.#pointed.textContent !== text) this.#pointed.textContent = text; // said aloud once
  }
}
