// Ten probabilities as labelled bars.

import { element } from "./element.js";
import { percent } from "./number.js";

export class Bars {
  #rows;

  constructor(list) {
    this.#rows = Array.from({ length: 10 }, (_, digit) => {
      const meter = element("meter", { ariaLabel: `probability of ${digit}` });
      const figure = element("span");
      const row = element("li", {}, element("span", {}, digit), meter, figure);
      list.append(row);
      return { row, meter, figure };
    });
    this.clear();
  }

  show(probabilities) {
    const best = Math.max(...probabilities);
    this.#rows.forEach(({ row, meter, figure }, digit) => {
      const probability = probabilities[digit];
      meter.value = probability;
      figure.textContent = percent(probability);
      row.className = probability === best ? "best" : "";
    });
  }

  clear() {
    for (const { row, meter, figure } of this.#rows) {
      meter.value = 0;
      figure.textContent = "–";
      row.className = "";
    }
  }
}
