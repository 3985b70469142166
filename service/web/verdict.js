// The digit in large; or why there is none in words, and the best guess in small.

const WORDS = { blank: "blank", several: "several digits", not_a_digit: "not a digit", ambiguous: "ambiguous" };

export class Verdict {
  #section;
  #digit;
  #guess;

  /** `section` holds the answer, `digit` and `guess` are outputs in it. */
  constructor(section, digit, guess) {
    [this.#section, this.#digit, this.#guess] = [section, digit, guess];
    this.clear();
  }

  show({ digit, rejected, reason }) {
    this.#section.classList.toggle("rejected", rejected);
    this.#digit.value = rejected ? WORDS[reason] ?? reason : digit;
    this.#guess.value = rejected ? `best guess: ${digit}` : "";
  }

  clear() {
    this.#section.classList.remove("rejected");
    this.#digit.value = "–";
    this.#guess.value = "";
  }
}
