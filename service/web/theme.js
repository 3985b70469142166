// Light or dark: what the system wants, until the button says otherwise.

const KEY = "theme";

export class Theme {
  #button;

  constructor(button) {
    this.#button = button;
    this.#set(localStorage.getItem(KEY));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#set(null));
    button.addEventListener("click", () => this.#set(this.#dark ? "light" : "dark"));
  }

  get #dark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  #set(theme) {
    if (theme) {
      document.documentElement.dataset.theme = theme;
      localStorage.setItem(KEY, theme);
    }
    this.#button.textContent = this.#dark ? "Light" : "Dark";
  }
}
