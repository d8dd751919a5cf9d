/** What the page tells about its work: a status, a complaint, and how far it has come. */
export class Notices {
  #texts;
  #status;
  #alert;
  #progress;
  #clock;
  #timer = 0;

  /** @param {import("./texts.js").Texts} texts */
  constructor(texts) {
    this.#texts = texts;
    this.#status = /** @type {HTMLElement} */ (document.querySelector("#status"));
    this.#alert = /** @type {HTMLElement} */ (document.querySelector("#alert"));
    this.#progress = /** @type {HTMLProgressElement} */ (document.querySelector("#progress"));
    this.#clock = /** @type {HTMLElement} */ (document.querySelector("#clock"));
  }

  /** @param {string} key @param {Record<string, string | number>} values */
  say(key, values = {}) {
    this.#alert.replaceChildren();
    this.#status.textContent = this.#texts.get(key, values);
  }

  /** @param {string} title @param {string} detail */
  complain(title, detail = "") {
    this.#status.textContent = "";
    const strong = document.createElement("strong");
    strong.textContent = title;
    this.#alert.replaceChildren(strong, ` ${detail}`);
  }

  dismiss() {
    this.#alert.replaceChildren();
  }

  /** Show a running clock, which is not read aloud, until `stop`. */
  start() {
    const started = performance.now();
    const tick = () => {
      this.#clock.textContent = this.#texts.get("seconds", {
        seconds: this.#texts.number((performance.now() - started) / 1000, 1),
      });
    };
    tick();
    this.#timer = window.setInterval(tick, 100);
    this.#progress.hidden = false;
    this.progress(null);
  }

  /** @param {number | null} fraction 0 to 1; null where it cannot be known */
  progress(fraction) {
    if (fraction === null) this.#progress.removeAttribute("value");
    else this.#progress.value = fraction;
  }

  stop() {
    window.clearInterval(this.#timer);
    this.#clock.textContent = "";
    this.#progress.hidden = true;
  }
}
