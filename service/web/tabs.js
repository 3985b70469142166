// Tabs by the pattern of the ARIA Authoring Practices: arrows move, and what is moved to is shown.

export class Tabs {
  #tabs;
  #changed;

  constructor(list, changed) {
    this.#tabs = [...list.querySelectorAll("[role=tab]")];
    this.#changed = changed;
    this.#tabs.forEach((tab, number) => {
      tab.addEventListener("click", () => this.select(tab.id));
      tab.addEventListener("keydown", ({ key }) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
        if (!step) return;
        const next = this.#tabs.at((number + step) % this.#tabs.length);
        next.focus();
        this.select(next.id);
      });
    });
  }

  get selected() {
    return this.#tabs.find((tab) => tab.ariaSelected === "true").id;
  }

  select(id) {
    if (!this.#tabs.some((tab) => tab.id === id)) return;
    for (const tab of this.#tabs) {
      tab.ariaSelected = String(tab.id === id);
      tab.tabIndex = tab.id === id ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab.id !== id;
    }
    this.#changed(id);
  }
}
