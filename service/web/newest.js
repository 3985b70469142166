// Questions of which only the newest one counts: it aborts those before it, and their answers are not shown.

export class Newest {
  #running = new AbortController();
  #timer;
  #failed;

  /** `failed` is called with what went wrong with a question that was not aborted, in words. */
  constructor(failed) {
    this.#failed = failed;
  }

  /** Asks after a pause of so many milliseconds without another question; `question` takes a signal. */
  ask(question, show, pause = 0) {
    this.stop();
    const { signal } = (this.#running = new AbortController());
    this.#timer = setTimeout(async () => {
      try {
        const answer = await question(signal);
        if (!signal.aborted) await show(answer);
      } catch (error) {
        if (!signal.aborted) this.#failed(error.message);
      }
    }, pause);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#running.abort();
  }
}
