// Ten probabilities as labelled bars.

export class Bars {
  #rows;

  constructor(list) {
    this.#rows = Array.from({ length: 10 }, (_, digit) => {
      const row = document.createElement("li");
      const name = document.createElement("span");
      name.textContent = digit;
      const meter = document.createElement("meter");
      meter.setAttribute("aria-label", `probability of ${digit}`);
      const figure = document.createElement("span");
      row.append(name, meter, figure);
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
      figure.textContent = `${(100 * probability).toFixed(1)} %`;
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
