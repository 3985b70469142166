// A kernel as a table of numbers that can be edited, and as the text that a query has.

import { element } from "./element.js";

const STEPS = { ArrowUp: -1, ArrowDown: 1 };

/** A weight in as few characters as a cell of the table has room for. */
function short(weight) {
  if (weight !== 0 && Math.abs(weight) < 0.001) return weight.toExponential(1);
  return String(Number(Number(weight.toPrecision(4)).toFixed(4)));
}

/** Weights as a query has them, rows by semicolons. */
export function asQuery(weights) {
  return weights.map((row) => row.join(",")).join(";");
}

/** The weights of a query, or null of what is no grid of at most so many numbers a side. */
export function read(text, most) {
  const cells = String(text ?? "").split(";").map((row) => row.split(",").map((cell) => cell.trim()));
  const right = cells.length <= most && cells[0].length <= most && cells.every((row) => row.length === cells[0].length);
  const weights = cells.map((row) => row.map((cell) => (cell === "" ? NaN : Number(cell))));
  return right && weights.flat().every(Number.isFinite) ? weights : null;
}

export class Kernel {
  table = element("table");
  weights = [];
  #changed;

  /** `changed` is called, without arguments, when a cell was edited. */
  constructor(changed) {
    this.#changed = changed;
    this.table.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Which cell holds no number, in words, or the empty string. */
  get problem() {
    const cell = this.table.querySelector("[aria-invalid=true]");
    return cell ? `${cell.getAttribute("aria-label")}: “${cell.value}” is no number` : "";
  }

  /** Shows weights, rows of numbers. */
  show(weights) {
    if (!this.problem && JSON.stringify(weights) === JSON.stringify(this.weights)) return;
    this.weights = weights.map((row) => [...row]);
    const rows = weights.map((row, y) => element("tr", {}, ...row.map((_, x) => element("td", {}, this.#cell(x, y)))));
    this.table.replaceChildren(element("tbody", {}, ...rows));
    this.#paint();
  }

  /** Makes it smaller, or larger by zeros, on the right and below. */
  resize(rows, columns) {
    const at = (x, y) => this.weights[y]?.[x] ?? 0;
    this.show(Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (_, x) => at(x, y))));
  }

  #cell(x, y) {
    const cell = element("input", { type: "text", inputMode: "decimal", autocomplete: "off" });
    cell.value = short(this.weights[y][x]);
    cell.setAttribute("aria-label", `Weight in row ${y + 1}, column ${x + 1}`);
    cell.addEventListener("focus", () => cell.select());
    cell.addEventListener("input", () => {
      const text = cell.value.trim().replace("−", "-").replace(",", ".");
      const right = text !== "" && Number.isFinite(Number(text));
      cell.setAttribute("aria-invalid", !right);
      if (right) this.weights[y][x] = Number(text);
      this.#paint();
      this.#changed();
    });
    return cell;
  }

  #paint() {
    const largest = Math.max(...this.weights.flat().map(Math.abs)) || 1;
    this.weights.forEach((row, y) => row.forEach((weight, x) => {
      const { style, classList } = this.table.rows[y].cells[x];
      style.setProperty("--share", Math.abs(weight) / largest);
      classList.toggle("negative", weight < 0);
    }));
  }

  #move(event) {
    const step = STEPS[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) return; // the arrows to the left and right stay within the number
    event.preventDefault();
    this.table.rows[cell.parentElement.rowIndex + step]?.cells[cell.cellIndex].firstChild.focus();
  }
}
